import { SampleQueue } from "./queue.js";

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = new SampleQueue(0.1 * sampleRate);
    this.reported = 0;
    this.port.onmessage = (event) => this.queue.push(event.data);
  }

  process(inputs, [[output]]) {
    this.queue.pull(output);
    const { played, underruns } = this.queue;
    if (played - this.reported >= 0.01 * sampleRate) {
      this.reported = played;
      this.port.postMessage({ played, underruns });
    }
    return true;
  }
}
registerProcessor("player", Player);
