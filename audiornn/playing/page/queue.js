// Samples between the network and the sound card.
export class SampleQueue {
  constructor(primed) {
    this.primed = primed; // samples to wait for before the first one and after an under-run
    this.blocks = [];
    this.offset = this.held = this.played = this.underruns = 0;
    this.waiting = true;
  }

  push(block) {
    this.blocks.push(block);
    this.held += block.length;
  }

  pull(output) {
    if (this.waiting && this.held < this.primed) return output.fill(0);
    this.waiting = false;
    let filled = 0;
    while (filled < output.length && this.blocks.length) {
      const part = this.blocks[0].subarray(this.offset, this.offset + output.length - filled);
      output.set(part, filled);
      filled += part.length;
      this.offset += part.length;
      if (this.offset === this.blocks[0].length) {
        this.blocks.shift();
        this.offset = 0;
      }
    }
    this.played += filled;
    this.held -= filled;
    if (filled < output.length) {
      output.fill(0, filled);
      this.waiting = true;
      this.underruns += 1;
    }
  }
}
