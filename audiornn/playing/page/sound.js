// The sound card: one audio context per sample rate, so that browsers resample and this page does not.
import { SampleQueue } from "./queue.js";

export class Sound {
  // Samples come through the port, and how many were played goes back.
  constructor(rate, port) {
    const fftSize = rate > 12000 ? 1024 : 512;
    this.context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
    this.analyser = new AnalyserNode(this.context, { fftSize, smoothingTimeConstant: 0, minDecibels: -95, maxDecibels: -25 });
    this.analyser.connect(this.context.destination);
    if (this.context.audioWorklet) this.connect(port);
    else this.connectScript(new SampleQueue(0.15 * rate), port);
  }

  async connect(port) {
    await this.context.audioWorklet.addModule("worklet.js");
    const node = new AudioWorkletNode(this.context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    node.port.postMessage(port, [port]);
    node.connect(this.analyser);
  }

  // Browsers have worklets only on https and localhost.
  connectScript(queue, port) {
    this.node = this.context.createScriptProcessor(256, 0, 1);
    this.node.onaudioprocess = ({ outputBuffer }) => {
      queue.pull(outputBuffer.getChannelData(0));
      port.postMessage({ played: queue.played, underruns: queue.underruns });
    };
    port.onmessage = ({ data }) => queue.push(data);
    this.node.connect(this.analyser);
  }

  close() {
    this.context.close();
  }
}
