// Spectrogram, wave and uncertainty, drawn while the sound plays.
const COLUMNS = 300; // of the spectrogram: twenty seconds at 15 per second
const VALUES = 600; // of the uncertainty: twelve seconds of blocks of 20 ms
const MOST_BITS = 8;
const PALETTES = {
  light: ["#f6f8fa", "#c5dcea", "#5b9cc6", "#1f5488", "#0a1b2e"],
  dark: ["#0f1316", "#17344f", "#1f7a8c", "#8ed6b8", "#fbfbe8"],
};

function ramp(stops) {
  const colours = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (colours.length - 1);
    const below = Math.min(Math.floor(place), colours.length - 2);
    return colours[below].map((channel, i) => channel + (colours[below + 1][i] - channel) * (place - below));
  });
}

export class Scope {
  constructor(spectrogram, wave, bits) {
    Object.assign(this, { spectrogram, wave, bits, values: [], head: 0 });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const recolour = () => {
      this.palette = ramp(PALETTES[dark.matches ? "dark" : "light"]);
      this.line = getComputedStyle(document.documentElement).getPropertyValue("--accent");
      this.history = null;
    };
    dark.addEventListener("change", recolour);
    recolour();
  }

  // The columns of the last twenty seconds, a ring.
  ring(bins) {
    if (!this.history) {
      this.history = new OffscreenCanvas(COLUMNS, bins);
      this.ink = this.history.getContext("2d");
      this.ink.fillStyle = `rgb(${this.palette[0]})`;
      this.ink.fillRect(0, 0, COLUMNS, bins);
    }
    return this.ink;
  }

  frame(analyser) {
    const bins = analyser.frequencyBinCount;
    const levels = new Uint8Array(bins);
    analyser.getByteFrequencyData(levels);
    const column = new ImageData(1, bins);
    levels.forEach((level, bin) => column.data.set([...this.palette[level], 255], 4 * (bins - 1 - bin)));
    this.ring(bins).putImageData(column, this.head, 0);
    this.head = (this.head + 1) % COLUMNS;
    const [pen, width, height] = this.surface(this.spectrogram, true);
    const cut = ((COLUMNS - this.head) / COLUMNS) * width, oldest = this.head + 1; // its neighbour is the newest one
    pen.drawImage(this.history, oldest, 0, COLUMNS - oldest, bins, 0, 0, cut, height);
    if (this.head) pen.drawImage(this.history, 0, 0, this.head, bins, cut, 0, width - cut, height);

    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    this.curve(this.wave, samples, (sample) => 0.5 - 0.5 * sample);
    this.curve(this.bits, this.values, (value) => 1 - value / MOST_BITS, VALUES);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  }

  uncertainty(value) {
    this.values.push(value);
    if (this.values.length > VALUES) this.values.shift();
  }

  // A canvas at the resolution of the screen.
  surface(canvas, opaque = false) {
    const width = Math.round(canvas.clientWidth * devicePixelRatio), height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    return [canvas.getContext("2d", { alpha: !opaque }), width, height];
  }

  curve(canvas, values, place, length = values.length) {
    const [pen, width, height] = this.surface(canvas);
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = this.line;
    pen.lineWidth = 1.5 * devicePixelRatio;
    pen.beginPath();
    values.forEach((value, i) => pen.lineTo(((length - values.length + i) / (length - 1)) * width, place(value) * height));
    pen.stroke();
  }
}
