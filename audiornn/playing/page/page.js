import { Scope } from "./scope.js";
import { Sound } from "./sound.js";

const find = (id) => document.getElementById(id);
const each = (selector, what) => document.querySelectorAll(selector).forEach(what);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const PAUSE_MS = 50; // between two drawings: 15 per second leave the processor to the model
const SHOWN = { top_k: (value) => value || "all", level_db: (value) => `${value} dB` };

const scope = new Scope(find("spectrogram"), find("wave"), find("bits"));
const uncertainties = []; // of blocks that have not been heard yet: [position after them, bits]
const socket = new Worker("socket.js");
let sound, rate, token, defaults, heardModel, recorder;
let underruns = 0, earlier = 0, takes = 0;
let playing = false, blind = false;

function say(text, problem = false) {
  find("status").textContent = text;
  find("status").classList.toggle("problem", problem);
}

function ask(request) {
  socket.postMessage(request);
}

// What the server says.

const NEWS = {
  token: (news) => { token = news.token; defaults = news.controls; show(defaults); },
  stream: (news) => {
    [rate, earlier, uncertainties.length] = [news.sample_rate, underruns, 0];
    sound?.close();
    sound = null;
    find("rate").textContent = `${rate / 1000} kHz`;
    find("play").disabled = false;
    if (news.letter) NEWS.letter(news);
    else {
      chosen(news.model);
      say("Ready.");
    }
    if (playing) play();
  },
  model: (news) => chosen(news.model),
  letter: (news) => {
    hide(true);
    each("[data-choose]", (button) => button.setAttribute("aria-pressed", button.dataset.choose === news.letter));
    say(`You hear ${news.letter}.`);
  },
  revealed: (news) => {
    const title = (letter) => find("model").querySelector(`[value="${news.revealed[letter]}"]`).dataset.title;
    const verdict = news.vote === "neither" ? "" : `You preferred ${news.vote}. `;
    find("votes").textContent = `${verdict}X was ${title("X")}, Y was ${title("Y")}.`;
    const heard = document.querySelector("[data-choose][aria-pressed=true]").dataset.choose;
    hide(false);
    chosen(news.revealed[heard]);
    say("");
  },
  speed: (news) => {
    find("speed").textContent = `${news.speed.toFixed(1)} × real time`;
    find("listeners").textContent = news.listeners;
  },
  recording: (news) => {
    find("record").setAttribute("aria-pressed", news.recording);
    find("recording").textContent = news.recording ? "Stop recording" : "Record";
    say(news.recording ? "Recording." : "Recorded.");
  },
  take: (news) => addTake(news.take, news.seconds),
  error: (news) => { say(news.error, true); if (!blind) chosen(heardModel); },
  closed: (news) => say(news.closed, true),
  lost: () => {
    pause();
    find("play").disabled = true;
    if (!find("status").classList.contains("problem")) say("The connection is closed. Load the page again.", true);
  },
};

function connect() {
  socket.postMessage({ url: `ws://${location.host}/listen` });
  socket.onmessage = ({ data: { news, block, heard: progress } }) => {
    if (block) uncertainties.push(block);
    if (progress) heard(progress);
    const kind = Object.keys(NEWS).find((key) => key in (news ?? {}));
    if (kind) NEWS[kind](news);
  };
  say("Loading the model …");
}

async function list() {
  const answer = await fetch("models");
  const models = await answer.json();
  if (!answer.ok) return say(models.error);
  each("#model, #a, #b", (select) => {
    const options = models.map(({ id, title, bits, ratio }) => {
      const facts = [bits && `${bits.toFixed(2)} bits`, ratio && `distance ${ratio.toFixed(2)}`].filter(Boolean);
      const option = new Option([title, ...facts].join(" · "), id);
      option.dataset.title = title;
      return option;
    });
    select.replaceChildren(...options);
    select.disabled = false;
  });
  find("b").selectedIndex = Math.min(1, models.length - 1);
  chosen(heardModel);
}

function chosen(id) {
  heardModel = id;
  find("model").value = id;
}

function hide(hidden) {
  blind = hidden;
  find("model").disabled = find("open").hidden = hidden;
  find("blind").hidden = !hidden;
  if (hidden) {
    find("model").selectedIndex = -1;
    find("votes").textContent = "";
  }
}

// Sound.

function heard({ played, underruns: later }) {
  underruns = earlier + later;
  let bits;
  while (uncertainties.length && uncertainties[0][0] <= played) scope.uncertainty(bits = uncertainties.shift()[1]);
  if (bits !== undefined) find("uncertainty").textContent = `${bits.toFixed(2)} bits`;
  find("heard").textContent = clock(played / rate);
  find("underruns").textContent = underruns;
}

function play() {
  if (!sound) {
    const { port1, port2 } = new MessageChannel();
    try {
      sound = new Sound(rate, port1);
    } catch (error) {
      return say(`This browser cannot play ${rate} Hz: ${error.message}`, true);
    }
    socket.postMessage({ port: port2 }, [port2]);
  }
  sound.context.resume();
  state(true);
  say("");
}

function pause() {
  sound?.context.suspend();
  state(false);
}

function state(on) {
  playing = on;
  document.body.classList.toggle("playing", on);
  find("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

function draw() {
  if (playing && sound) find("loudness").value = 20 * Math.log10(Math.max(scope.frame(sound.analyser), 1e-3));
  setTimeout(() => requestAnimationFrame(draw), PAUSE_MS);
}

// Controls.

const controls = {}; // sliders round to their steps: only the one that is moved changes its control

function show(values) {
  Object.assign(controls, values);
  for (const input of document.querySelectorAll("#controls input")) {
    input.value = controls[input.name];
    label(input);
  }
}

function label(input) {
  const text = (SHOWN[input.name] ?? String)(controls[input.name]);
  input.parentElement.querySelector(".value").textContent = text;
  input.setAttribute("aria-valuetext", text);
}

function move(input) {
  controls[input.name] = Number(input.value);
  label(input);
  ask({ controls });
}

function begin(start) {
  ask({ seed: Number(find("seed").value), start, prompt_seconds: Number(find("seconds").value) });
}

async function upload(content, offset) {
  say("Reading the recording …");
  const query = new URLSearchParams({ offset, seconds: find("seconds").value });
  const answer = await fetch(`prompt/${token}?${query}`, { method: "POST", body: content });
  const { error } = await answer.json();
  say(error ?? "The model continues it.", Boolean(error));
}

async function listen() {
  if (recorder) return recorder.stop();
  if (!navigator.mediaDevices) return say("Browsers allow the microphone on localhost and https alone.", true);
  let input;
  try {
    input = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
  } catch (error) {
    return say(`The microphone cannot be used: ${error.message}`, true);
  }
  const parts = [], since = performance.now();
  recorder = new MediaRecorder(input);
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    const length = (performance.now() - since) / 1000;
    input.getTracks().forEach((track) => track.stop());
    recorder = null;
    find("microphone").setAttribute("aria-pressed", false);
    upload(new Blob(parts), Math.max(0, length - Number(find("seconds").value) - 0.3)); // its end
  };
  recorder.start();
  find("microphone").setAttribute("aria-pressed", true);
  say("Listening. Press again: the model continues the end of what it has heard.");
}

function addTake(key, seconds) {
  const row = find("take").content.cloneNode(true).firstElementChild;
  const name = row.querySelector("input");
  name.value = `take ${(takes += 1)}`;
  row.querySelector(".length").textContent = clock(seconds);
  const query = () => new URLSearchParams({ name: name.value });
  row.querySelectorAll("a").forEach((link) => {
    const aim = () => { link.href = `takes/${key}.${link.dataset.form}?${query()}`; };
    link.download = "";
    name.addEventListener("input", aim);
    aim();
  });
  row.querySelector("button").onclick = async () => {
    const { run, error } = await (await fetch(`takes/${key}/log?${query()}`, { method: "POST" })).json();
    say(error ?? `Logged to run ${run}, in played/.`, Boolean(error));
  };
  find("takes").prepend(row);
  find("no-takes").hidden = true;
  say(`Kept ${clock(seconds)} as ${name.value}.`);
}

// What people do.

const ACTIONS = {
  play: () => (playing ? pause() : play()),
  record: () => ask({ record: find("record").getAttribute("aria-pressed") !== "true" }),
  keep: () => ask({ keep: true }),
  again: () => begin("same"),
  another: () => { find("seed").value = Math.floor(Math.random() * 2 ** 31); begin("same"); },
  silence: () => begin("silence"),
  test: () => begin("test"),
  microphone: listen,
  defaults: () => { show(defaults); ask({ controls }); },
  compare: () => ask({ compare: [find("a").value, find("b").value] }),
};
Object.entries(ACTIONS).forEach(([id, action]) => find(id).addEventListener("click", action));
each("[data-play]", (button) => button.addEventListener("click", () => ask({ model: find(button.dataset.play).value })));
each("[data-choose]", (button) => button.addEventListener("click", () => ask({ choose: button.dataset.choose })));
each("[data-vote]", (button) => button.addEventListener("click", () => ask({ vote: button.dataset.vote })));
find("model").addEventListener("change", (event) => ask({ model: event.target.value }));
find("seed").addEventListener("change", () => begin("same"));
find("controls").addEventListener("input", (event) => move(event.target));
find("file").addEventListener("change", (event) => {
  if (event.target.files[0]) upload(event.target.files[0], find("offset").value);
  event.target.value = ""; // so that the same file can be chosen again
});

addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0], find("offset").value);
});

addEventListener("keydown", (event) => {
  const field = event.target.matches("select, input:not([type=range])");
  if (field || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === " " && event.target.matches("button, a")) return; // it presses what has the focus
  const which = { 1: ["a", "X"], 2: ["b", "Y"] }[event.key];
  const key = { " ": "play", r: "record", k: "keep", n: "another", s: "again" }[event.key.toLowerCase()];
  if (which) document.querySelector(blind ? `[data-choose=${which[1]}]` : `[data-play=${which[0]}]`).click();
  else if (key) find(key).click();
  else return;
  event.preventDefault();
});

connect();
list();
draw();
