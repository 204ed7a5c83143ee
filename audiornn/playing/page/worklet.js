import { SampleQueue } from "./queue.js";

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = new SampleQueue(0.15 * sampleRate);
    this.reported = 0;
    this.port.onmessage = ({ data }) => {
      this.socket = data;
      this.socket.onmessage = ({ data: samples }) => this.queue.push(samples);
    };
  }

  process(inputs, [[output]]) {
    this.queue.pull(output);
    const { played, underruns } = this.queue;
    if (played - this.reported >= 0.02 * sampleRate) {
      this.reported = played;
      this.socket.postMessage({ played, underruns });
    }
    return true;
  }
}
registerProcessor("player", Player);
