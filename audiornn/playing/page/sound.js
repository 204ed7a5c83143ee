// The sound card: one audio context per sample rate, so that browsers resample and this page does not.
import { SampleQueue } from "./queue.js";

export class Sound {
  // onplayed gets { played, underruns }.
  constructor(rate, onplayed) {
    this.context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    const fftSize = rate > 12000 ? 1024 : 512;
    this.analyser = new AnalyserNode(this.context, { fftSize, smoothingTimeConstant: 0, minDecibels: -95, maxDecibels: -25 });
    this.analyser.connect(this.context.destination);
    this.early = [];
    this.send = (samples) => this.early.push(samples);
    this.ready = this.connect(rate, onplayed);
  }

  async connect(rate, onplayed) {
    if (this.context.audioWorklet) {
      await this.context.audioWorklet.addModule("worklet.js");
      const node = new AudioWorkletNode(this.context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
      node.port.onmessage = (event) => onplayed(event.data);
      node.connect(this.analyser);
      this.send = (samples) => node.port.postMessage(samples, [samples.buffer]);
    } else { // browsers have worklets only on https and localhost
      const queue = new SampleQueue(0.1 * rate);
      const node = this.context.createScriptProcessor(256, 0, 1);
      node.onaudioprocess = (event) => {
        queue.pull(event.outputBuffer.getChannelData(0));
        onplayed(queue);
      };
      node.connect(this.analyser);
      this.node = node; // or it would be collected as garbage
      this.send = (samples) => queue.push(samples);
    }
    this.early.forEach((samples) => this.send(samples));
  }

  close() {
    this.context.close();
  }
}
