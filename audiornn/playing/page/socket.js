// The connection to the server, a worker: what the page draws does not delay what is heard.
const NEWS_MS = 100; // between reports of what was heard to the page, which shows it
let socket, port, stream, received, early, told = 0;

function ask(request) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(request));
}

function hear(data) {
  if (new Uint32Array(data, 0, 1)[0] !== stream) return;
  const samples = Float32Array.from(new Int16Array(data, 8), (sample) => sample / 32768);
  received += samples.length;
  postMessage({ block: [received, new Float32Array(data, 4, 1)[0]] });
  if (port) port.postMessage(samples, [samples.buffer]);
  else early.push(samples);
}

function tell(news) {
  if ("stream" in news) [stream, received, port, early] = [news.stream, 0, null, []];
  postMessage({ news });
}

function connect(url) {
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => (data instanceof ArrayBuffer ? hear(data) : tell(JSON.parse(data)));
  socket.onclose = () => postMessage({ news: { lost: true } });
}

// Who plays the samples tells how many were played.
function attach(player) {
  const current = stream;
  port = player;
  port.onmessage = ({ data }) => {
    if (current !== stream) return;
    ask({ played: data.played, stream });
    if (performance.now() - told < NEWS_MS) return;
    told = performance.now();
    postMessage({ heard: data });
  };
  early.forEach((samples) => port.postMessage(samples, [samples.buffer]));
}

onmessage = ({ data }) => {
  if (data.url) connect(data.url);
  else if (data.port) attach(data.port);
  else ask(data);
};
