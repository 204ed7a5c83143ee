#!/usr/bin/env python3
"""The peers of the fixed speech task, in PyTorch: WaveNet, three-tier SampleRNN, two GRUs on embedded codes.

    pip install torch numpy scipy soundfile
    python benchmarks/peers.py speech --peer wavenet --output DIR [--cpu-seconds 1800] [--threads 2] [--json FILE]
    python benchmarks/peers.py speech --peer wavenet --weights DIR/weights.pt --generate CLIPS
    python benchmarks/peers.py --check

Corpus, codes, split, score and budget are those of `benchmarks/speech.py`, but nothing of this project is imported: the
file runs in an environment of its own. A peer is trained, scored, its weights are kept in --output. With --weights it
is not trained; it is scored then only where nothing is generated.

--generate writes clips that continue seconds of the part, sample by sample, all at once: --prompts places, --seeds
clips each, for all combinations of --temperature and --top-p, of which each has its folder, such as
`CLIPS/wavenet-t1-p0.98/prompt0-seed0.wav`. The prompts are not part of the clips.

--check compares the networks as they step through codes with their parallel form.
"""

import argparse
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy import signal

try:
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import Tensor, nn
except ImportError as error:
    raise SystemExit(
        f"{error}; the peers need what this project does not depend on: in an environment of its own, "
        "pip install torch numpy scipy soundfile"
    ) from error

RATE, CODES, SILENCE, PREEMPHASIS = 8000, 256, 128, 0.95
SEGMENT, SKIP_HEAD, SKIP_TAIL = 8192, 65, 16
SPLITS = ("train", "validation", "test")
LOUD_DB = -45.0  # RMS of a prompt, in dB of full scale
HIGHPASS_HZ = 20.0  # below it nothing is heard, but the de-emphasis amplifies an offset by 26 dB
PEAK = 0.99
Step = Callable[[Tensor], Tensor]  # codes int64 [streams] at a time to logits [streams, 256] of the next


class GRU(nn.Module):
    """GRUs on embedded codes (Cho et al. 2014, arXiv:1406.1078), the plain recurrent network."""

    def __init__(self, embedding: int = 64, units: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, embedding)
        self.gru = nn.GRU(embedding, units, layers, batch_first=True)
        self.output = nn.Linear(units, CODES)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits [batch, time, 256] of codes int64 [batch, time]; those at t are of the code at t + 1."""
        return self.output(self.gru(self.embedding(codes))[0])

    def start(self, streams: int) -> Step:
        """The network step by step, from a fresh state."""
        state: Tensor | None = None

        def step(codes: Tensor) -> Tensor:
            nonlocal state
            hidden, state = self.gru(self.embedding(codes)[:, None], state)
            return self.output(hidden[:, 0])

        return step


class WaveNet(nn.Module):
    """Stacks of dilated causal convolutions (van den Oord et al. 2016, arXiv:1609.03499).

    Two stacks of dilations 1 to 512 see 2047 samples. Before the start each layer's input is zero.
    """

    def __init__(self, channels: int = 64, skips: int = 128, stacks: int = 2, layers: int = 10) -> None:
        super().__init__()
        self.dilations = [2**layer for layer in range(layers)] * stacks
        self.embedding = nn.Embedding(CODES, channels)
        self.gates, self.residuals, self.skips = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for dilation in self.dilations:
            self.gates.append(nn.Conv1d(channels, 2 * channels, 2, dilation=dilation))
            self.residuals.append(nn.Conv1d(channels, channels, 1))
            self.skips.append(nn.Conv1d(channels, skips, 1))
        self.output = nn.Sequential(nn.ReLU(), nn.Conv1d(skips, skips, 1), nn.ReLU(), nn.Conv1d(skips, CODES, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """Logits [batch, time, 256] of codes int64 [batch, time]; those at t are of the code at t + 1."""
        hidden = self.embedding(codes).transpose(1, 2)
        total: Any = 0
        for dilation, gates, residual, skip in zip(self.dilations, self.gates, self.residuals, self.skips, strict=True):
            value, gate = gates(F.pad(hidden, (dilation, 0))).chunk(2, 1)
            gated = torch.tanh(value) * torch.sigmoid(gate)
            total = total + skip(gated)
            hidden = hidden + residual(gated)
        return self.output(total).transpose(1, 2)

    def start(self, streams: int) -> Step:
        """The network step by step, from a fresh state.

        Each layer keeps its last inputs, as many as its dilation, in a ring (Le Paine et al. 2016, Fast WaveNet,
        arXiv:1611.09482). The sums over the layers' skips become one product.
        """
        channels = self.embedding.embedding_dim
        rings = [torch.zeros(dilation, streams, channels) for dilation in self.dilations]
        gates = [(layer.weight.permute(0, 2, 1).flatten(1), layer.bias) for layer in self.gates]
        residuals = [(layer.weight[:, :, 0], layer.bias) for layer in self.residuals]
        skip = torch.cat([layer.weight[:, :, 0] for layer in self.skips], 1)
        skip_bias = torch.stack([layer.bias for layer in self.skips]).sum(0)
        (first, first_bias), (last, last_bias) = [
            (layer.weight[:, :, 0], layer.bias) for layer in self.output if isinstance(layer, nn.Conv1d)
        ]
        gated = torch.zeros(streams, len(rings), channels)
        now = 0

        def step(codes: Tensor) -> Tensor:
            nonlocal now
            hidden = self.embedding(codes)
            for index, ring in enumerate(rings):
                place = ring[now % len(ring)]
                value, gate = F.linear(torch.cat([place, hidden], 1), *gates[index]).chunk(2, 1)
                place.copy_(hidden)
                product = torch.tanh(value) * torch.sigmoid(gate)
                gated[:, index] = product
                hidden = hidden + F.linear(product, *residuals[index])
            now += 1
            total = F.relu(F.linear(gated.flatten(1), skip, skip_bias))
            return F.linear(F.relu(F.linear(total, first, first_bias)), last, last_bias)

        return step


class SampleRNN(nn.Module):
    """Three tiers at three rates (Mehri et al. 2017, arXiv:1612.07837): frames of 16, frames of 4, samples.

    A GRU reads frames of 16 and conditions the four frames of 4 after each; another reads these frames of 4 and
    conditions the four samples after each; a network without memory predicts a sample from the 4 codes before it.
    What comes before the start is silence for the samples, and zero for what conditions.
    """

    def __init__(self, units: int = 256, frames: tuple[int, int] = (16, 4), embedding: int = 256) -> None:
        super().__init__()
        self.units, self.frames = units, frames
        large, small = frames
        self.large_input = nn.Linear(large, units)
        self.large_gru = nn.GRU(units, units, batch_first=True)
        self.large_output = nn.Linear(units, units * (large // small))
        self.small_input = nn.Linear(small, units)
        self.small_gru = nn.GRU(units, units, batch_first=True)
        self.small_output = nn.Linear(units, units * small)
        self.embedding = nn.Embedding(CODES, embedding)
        self.samples = nn.Conv1d(embedding, units, small, bias=False)
        self.hidden = nn.Linear(units, units)
        self.output = nn.Linear(units, CODES)

    @staticmethod
    def amplitudes(codes: Tensor) -> Tensor:
        """What the upper tiers see of codes: numbers in [-2, 2)."""
        return (codes.float() / 128 - 1) * 2

    def head(self, samples: Tensor) -> Tensor:
        """Logits from what the last samples and the tiers above add up to."""
        return self.output(F.relu(self.hidden(F.relu(samples))))

    def forward(self, codes: Tensor) -> Tensor:
        """Logits [batch, time, 256] of codes int64 [batch, time]; those at t are of the code at t + 1.

        Only whole frames of 16 are predicted: the logits of what comes after them are zero.
        """
        large, small = self.frames
        batch, length = codes.shape
        whole = length // large * large
        codes = codes[:, :whole]
        amplitudes = self.amplitudes(codes)
        above = self.large_output(self.large_gru(self.large_input(amplitudes.view(batch, -1, large)))[0])
        above = F.pad(above.view(batch, -1, self.units), (0, 0, large // small, 0))[:, : whole // small]
        middle = self.small_gru(self.small_input(amplitudes.view(batch, -1, small)) + above)[0]
        middle = F.pad(self.small_output(middle).view(batch, -1, self.units), (0, 0, small, 0))[:, :whole]
        before = self.embedding(F.pad(codes, (small, 0), value=SILENCE)[:, :-1])
        own = self.head(self.samples(before.transpose(1, 2)).transpose(1, 2) + middle)  # at t of the code at t
        return F.pad(own[:, 1:], (0, 0, 0, length - whole + 1))

    def start(self, streams: int) -> Step:
        """The network step by step, from a fresh state. Embedding and convolution become a table to look up."""
        large, small = self.frames
        table = torch.cat([self.embedding.weight @ self.samples.weight[:, :, place].T for place in range(small)])
        rows = torch.arange(small) * CODES
        last = deque([torch.full([streams], SILENCE)] * large, maxlen=large)
        above = torch.zeros(streams, large // small, self.units)
        middle = torch.zeros(streams, small, self.units)
        large_state: Tensor | None = None
        small_state: Tensor | None = None
        now = 0  # how many codes were seen

        def step(codes: Tensor) -> Tensor:
            nonlocal above, middle, large_state, small_state, now
            last.append(codes.clone())
            now += 1
            recent = torch.stack(list(last)[-small:], 1)
            if now % small == 0:
                entered = self.small_input(self.amplitudes(recent)) + above[:, (now - 1) % large // small]
                hidden, small_state = self.small_gru(entered[:, None], small_state)
                middle = self.small_output(hidden).view(streams, small, self.units)
            if now % large == 0:
                entered = self.large_input(self.amplitudes(torch.stack(list(last), 1)))
                hidden, large_state = self.large_gru(entered[:, None], large_state)
                above = self.large_output(hidden).view(streams, large // small, self.units)
            return self.head(F.embedding_bag(recent + rows, table, mode="sum") + middle[:, now % small])

        return step


Network = GRU | WaveNet | SampleRNN


class Peer(NamedTuple):
    """A network, and the batch × length it is trained with."""

    network: type[GRU] | type[WaveNet] | type[SampleRNN]
    batch: int
    length: int


PEERS = {"wavenet": Peer(WaveNet, 2, 4000), "samplernn": Peer(SampleRNN, 8, 1024), "gru": Peer(GRU, 16, 512)}


def encode(wave: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Codes [n] of a wave [n] in [-1, 1]: pre-emphasis, µ-law."""
    emphasised = np.clip(signal.lfilter([1, -PREEMPHASIS], [1], wave), -1, 1)
    companded = np.sign(emphasised) * np.log1p(255 * np.abs(emphasised)) / np.log1p(255)
    return np.floor((companded + 1) / 2 * 255 + 0.5).astype(np.uint8)


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The wave [..., n] of codes [..., n]: the inverse of µ-law, de-emphasis."""
    companded = codes / 255 * 2 - 1
    emphasised = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(255)) / 255
    return signal.lfilter([1], [1, -PREEMPHASIS], emphasised)


def load(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Codes [n] of each part."""
    parts: dict[str, list[NDArray[np.uint8]]] = {part: [] for part in SPLITS}
    paths = [path for path in sorted(folder.rglob("*.wav"), key=str) if "silence" not in path.parts]
    if not paths:
        raise SystemExit(f"no recordings under {folder}")
    for index, path in enumerate(paths):
        wave, rate = sf.read(path, dtype="float64")
        if rate != RATE or wave.ndim != 1:
            raise SystemExit(f"{path}: expected 8 kHz, mono; found {rate} Hz, shape {wave.shape}")
        parts[{9: "test", 8: "validation"}.get(index % 10, "train")].append(encode(wave))
    return {part: np.concatenate(codes) if codes else np.zeros(0, np.uint8) for part, codes in parts.items()}


def tell(message: str) -> None:
    """Progress, apart from the results."""
    print(message, file=sys.stderr, flush=True)


def train(network: Network, codes: NDArray[np.uint8], batch: int, length: int, cpu_seconds: float) -> dict[str, Any]:
    """Train for a budget of processor seconds; what was measured meanwhile.

    AdamW, gradients clipped at 1; the learning rate rises to 0.002 in 100 steps and falls as a cosine to zero at the
    end of the budget.
    """
    recordings = torch.from_numpy(codes.astype(np.int64))
    if len(recordings) < length + 2:
        raise SystemExit(f"{len(recordings)} codes to train on, but a window has {length + 1}")
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01, betas=(0.9, 0.98))
    rng = np.random.default_rng(0)
    begin, wall = time.process_time(), time.perf_counter()
    steps, told = 0, 0.0
    while (spent := time.process_time() - begin) <= cpu_seconds:
        fraction = spent / cpu_seconds
        for group in optimizer.param_groups:
            group["lr"] = min(1, (steps + 1) / 100) * 2e-3 * 0.5 * (1 + math.cos(math.pi * fraction))
        starts = rng.integers(0, len(recordings) - length - 1, batch)
        windows = torch.stack([recordings[start : start + length + 1] for start in starts])
        logits = network(windows[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, CODES), windows[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        if fraction - told > 0.1:
            told = fraction
            rate = steps * batch * length / spent
            tell(f"{fraction:.0%}, step {steps}: {loss.item() / math.log(2):.3f} bits, {rate:.0f} samples/CPU s")
    return {
        "batch": batch,
        "length": length,
        "steps": steps,
        "cpu_seconds": round(spent),
        "wall_seconds": round(time.perf_counter() - wall),
        "samples_per_cpu_second": round(steps * batch * length / spent),
    }


@torch.inference_mode()
def bits_per_sample(network: Network, codes: NDArray[np.uint8], batch: int = 4) -> float:
    """The score of a network: mean bits over segments entered with a fresh state."""
    segments = torch.from_numpy(codes[: len(codes) // SEGMENT * SEGMENT].reshape(-1, SEGMENT).astype(np.int64))
    if not len(segments):
        raise SystemExit(f"{len(codes)} codes to score, but a segment has {SEGMENT}")
    nats, count = 0.0, 0
    for part in segments.split(batch):
        logits = network(part)[:, SKIP_HEAD - 1 : -1 - SKIP_TAIL].double()
        labels = part[:, SKIP_HEAD : SEGMENT - SKIP_TAIL]
        nats += F.cross_entropy(logits.reshape(-1, CODES), labels.reshape(-1), reduction="sum").item()
        count += labels.numel()
    return nats / count / math.log(2)


def prompts(codes: NDArray[np.uint8], count: int, length: int) -> NDArray[np.uint8]:
    """Pieces [count, length] of a part, evenly spread over those that are not silent."""
    pieces = codes[: len(codes) // length * length].reshape(-1, length)
    rms = np.sqrt(np.mean(decode(codes)[: pieces.size].reshape(-1, length) ** 2, axis=1))
    loud = pieces[rms > 10 ** (LOUD_DB / 20)]
    if len(loud) < count:
        raise SystemExit(f"{count} prompts wanted, but the part has {len(loud)} of that length that are not silent")
    return loud[(2 * np.arange(count) + 1) * len(loud) // (2 * count)]


def draw(logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    """Codes [streams] drawn from `softmax(logits / temperature)` by inversion of the distribution function.

    Below a `top_p` of 1 a stream draws from the fewest likeliest codes that together have at least this probability
    (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751). All arguments have one row or number per stream.
    """
    weights = torch.softmax(logits / temperature[:, None], 1)
    cut = top_p < 1
    if cut.any():
        some = weights[cut]
        ranked = torch.from_numpy(np.sort(some.numpy(), 1)).flip(1)  # several times faster than torch.sort
        kept = (ranked.cumsum(1) - ranked < top_p[cut, None]).sum(1, keepdim=True)
        weights[cut] = torch.where(some >= ranked.gather(1, kept - 1), some, 0)
    cumulative = weights.cumsum(1)
    drawn = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1)
    # uniform * total can round up to the total, beyond the last code.
    return torch.where(drawn < CODES, drawn, logits.argmax(1))


@torch.inference_mode()
def generate(
    network: Network, prompt: NDArray[np.uint8], uniforms: NDArray[np.float32], temperature: Tensor, top_p: Tensor
) -> NDArray[np.uint8]:
    """Codes [streams, n] after prompts [streams, m], drawn with uniform numbers [streams, n]."""
    streams, length = uniforms.shape
    step = network.start(streams)
    for codes in torch.from_numpy(prompt.T.astype(np.int64)):
        logits = step(codes)
    made = np.empty([length, streams], np.uint8)
    begin = time.perf_counter()
    for now, uniform in enumerate(torch.from_numpy(np.ascontiguousarray(uniforms.T))):
        codes = draw(logits, temperature, top_p, uniform)
        made[now] = codes.numpy()
        logits = step(codes)
        if (now + 1) % max(1, length // 10) == 0:
            tell(f"{(now + 1) / length:.0%}, {1000 * (time.perf_counter() - begin) / (now + 1):.2f} ms/step")
    return made.T


def audible(codes: NDArray[np.uint8], skip: int) -> NDArray[np.float64]:
    """The wave of codes without its first samples, an offset, or samples beyond full scale."""
    highpass = signal.butter(2, HIGHPASS_HZ, "highpass", fs=RATE, output="sos")
    wave = signal.sosfilt(highpass, decode(codes))[skip:]
    return wave * min(1.0, PEAK / max(np.abs(wave).max(), 1e-9))


def write_clips(network: Network, codes: NDArray[np.uint8], arguments: argparse.Namespace) -> dict[str, Any]:
    """Generate all clips at once and write them; how long it took."""
    prompt = prompts(codes, arguments.prompts, round(arguments.prompt_seconds * RATE))
    length = round(arguments.seconds * RATE)
    clips = [(place, seed) for place in range(len(prompt)) for seed in range(arguments.seeds)]
    settings = [(temperature, top_p) for temperature in arguments.temperature for top_p in arguments.top_p]
    # A clip has its own numbers, the same in all settings and however many others there are.
    uniforms = np.stack([np.random.default_rng([seed, place]).random(length, np.float32) for place, seed in clips])
    entered = np.tile(prompt[[place for place, _ in clips]], (len(settings), 1))
    temperature, top_p = torch.tensor(settings).repeat_interleave(len(clips), 0).T.contiguous()
    begin = time.perf_counter()
    made = generate(network, entered, np.tile(uniforms, (len(settings), 1)), temperature, top_p)
    seconds = time.perf_counter() - begin
    whole = np.concatenate([entered, made], 1).reshape(len(settings), len(clips), -1)
    for (temperature_, top_p_), group in zip(settings, whole, strict=True):
        folder = arguments.generate / f"{arguments.peer}-t{temperature_:g}-p{top_p_:g}"
        folder.mkdir(parents=True, exist_ok=True)
        for (place, seed), clip in zip(clips, group, strict=True):
            wave = audible(clip, entered.shape[1])
            sf.write(folder / f"prompt{place}-seed{seed}.wav", wave, RATE, subtype="PCM_16")
    steps = entered.shape[1] + length
    return {"streams": len(entered), "steps": steps, "ms_per_step": round(1000 * seconds / steps, 2)}


@torch.inference_mode()
def check(length: int = 160, streams: int = 3) -> dict[str, float]:
    """The greatest difference, for each peer, between a small network's logits step by step and in parallel."""
    torch.manual_seed(0)
    networks: dict[str, Network] = {
        "wavenet": WaveNet(channels=8, skips=12, stacks=2, layers=5),
        "samplernn": SampleRNN(units=16, embedding=8),
        "gru": GRU(embedding=8, units=16),
    }
    differences = {}
    for name, network in networks.items():
        for parameter in network.parameters():
            parameter.mul_(2)  # so that what came long ago still matters
        codes = torch.randint(CODES, [streams, length])
        parallel = network(codes)[:, :-1]
        step = network.start(streams)
        stepped = torch.stack([step(column) for column in codes.T], 1)[:, :-1]
        differences[name] = (parallel - stepped).abs().max().item()
    return differences


def numbers(text: str) -> list[float]:
    """Numbers above 0, separated by commas."""
    values = [float(value) for value in text.split(",")]
    if min(values) <= 0:
        raise ValueError
    return values


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, nargs="?", help="folder with the recordings")
    parser.add_argument("--peer", choices=list(PEERS))
    parser.add_argument("--cpu-seconds", type=float, default=1800.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--part", default="test", choices=["validation", "test"])
    parser.add_argument("--output", type=Path, help="folder for the weights")
    parser.add_argument("--json", type=Path, help="file for the row")
    parser.add_argument("--weights", type=Path, help="weights of an earlier run, instead of training")
    parser.add_argument("--generate", type=Path, metavar="DIR", help="folder for the clips")
    parser.add_argument("--prompts", type=int, default=8, help="how many places of the part to continue")
    parser.add_argument("--seeds", type=int, default=3, help="clips a prompt")
    parser.add_argument("--seconds", type=float, default=9.01, help="of a clip, without its prompt")
    parser.add_argument("--prompt-seconds", type=float, default=1.0)
    parser.add_argument("--temperature", type=numbers, default="1.0,0.95,0.9", metavar="T[,T...]")
    parser.add_argument("--top-p", type=numbers, default="1.0,0.98", metavar="P[,P...]")
    parser.add_argument("--check", action="store_true", help="compare steps with the parallel form")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.check:
        differences = check()
        print(json.dumps(differences, indent=1))
        sys.exit(max(differences.values()) > 1e-4)
    if not arguments.speech or not arguments.peer:
        parser.error("the folder with the recordings and --peer are needed")
    torch.manual_seed(0)
    codes = load(arguments.speech)
    peer = PEERS[arguments.peer]
    network = peer.network()
    row: dict[str, Any] = {"model": arguments.peer, "parameters": sum(p.numel() for p in network.parameters())}
    if arguments.weights:
        network.load_state_dict(torch.load(arguments.weights, weights_only=True))
    else:
        row |= train(network, codes["train"], peer.batch, peer.length, arguments.cpu_seconds)
        row["threads"] = arguments.threads
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            torch.save(network.state_dict(), arguments.output / "weights.pt")
    if not arguments.weights or not arguments.generate:
        row[f"{arguments.part}_bits"] = round(bits_per_sample(network, codes[arguments.part]), 4)
        tell(f"{row[f'{arguments.part}_bits']} bits per sample on the {arguments.part} part")
    if arguments.generate:
        row["generation"] = write_clips(network, codes[arguments.part], arguments)
    print(json.dumps(row, indent=1))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
