"""From a trained model to clips that can be listened to: prompts, decoding, levels, wav files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audiornn import audio, codec, sampling
from audiornn.errors import AudioRNNError
from audiornn.files import read_json
from audiornn.models.base import AudioModel
from audiornn.params import Generate
from audiornn.shards import read_manifest

TEST = "test"  # the prompt that means: pieces of the test part
SHOWN = 3  # clips in the figure beside the real audio
SILENT_RMS = 1e-3  # -60 dBFS: a prompt below it says nothing
FLOOR_DBFS = -120.0


def dbfs(value: float) -> float:
    """A level relative to full scale in dB, not below -120."""
    return max(FLOOR_DBFS, 20 * float(np.log10(max(value, 1e-9))))


@dataclass(frozen=True)
class Clip:
    """A generated clip.

    `wave` is float [n] in [-1, 1], ready to play; `gain` the factor that made its peak safe, 1 where none was needed.
    """

    name: str
    temperature: float
    sample_rate: int
    wave: NDArray[np.float64]
    gain: float

    @property
    def title(self) -> str:
        return f"generated, temperature {self.temperature:g}"

    def levels(self) -> dict[str, float]:
        """RMS and peak in dBFS, share of samples at full scale, applied gain, length."""
        magnitude = np.abs(self.wave)
        return {
            "temperature": self.temperature,
            "seconds": len(self.wave) / self.sample_rate,
            "rms_dbfs": dbfs(float(np.sqrt(np.mean(self.wave**2)))),
            "peak_dbfs": dbfs(float(magnitude.max())),
            "clipped_share": float(np.mean(magnitude >= 1)),
            "gain": self.gain,
        }

    def describe(self) -> str:
        """Its levels in a line."""
        levels = self.levels()
        return (
            f"{levels['seconds']:.1f} s, temperature {self.temperature:g}, RMS {levels['rms_dbfs']:.1f} dBFS, "
            f"peak {levels['peak_dbfs']:.1f} dBFS" + (f", scaled by {self.gain:.2f}" if self.gain < 1 else "")
        )

    def write(self, folder: str | Path) -> Path:
        """Write it as 16-bit wav and return the path."""
        path = Path(folder) / f"{self.name}.wav"
        with audio.WaveWriter(path, self.sample_rate, "PCM_16") as writer:
            writer(self.wave)
        return path


class TestPart:
    """The codes of the test part, for prompts and for comparison.

    Parameters
    ----------
    encoded, shards
        Folders that the encode and the shard stage wrote.
    settings
        The codec's settings, as stored with a model.
    """

    __test__ = False  # not a test case, whatever its name

    def __init__(self, encoded: str | Path, shards: str | Path, settings: dict[str, Any]) -> None:
        self.settings = settings
        files = {r["name"]: r["file"] for r in read_json(Path(encoded) / "manifest.json")["recordings"]}
        self.ranges: list[NDArray[np.uint8]] = [
            np.load(Path(encoded) / files[piece["recording"]], mmap_mode="r")[piece["start"] : piece["stop"]]
            for piece in read_manifest(shards)["parts"]["test"]["ranges"]
        ]

    def prompts(self, count: int, samples: int, seed: int) -> NDArray[np.uint8]:
        """Pieces uint8 [count, samples] drawn at random from where there is sound.

        Of eight drawn pieces the loudest is taken: the pauses between words would prompt silence.

        Raises
        ------
        AudioRNNError
            If no test recording is long enough.
        """
        long = [codes for codes in self.ranges if len(codes) >= samples]
        if not long:
            rate = self.settings["sample_rate"]
            longest = max(len(codes) for codes in self.ranges) / rate
            raise AudioRNNError(
                f"generate.prompt_seconds is {samples / rate:g}, but the longest test recording has {longest:.2f} s"
            )
        random = np.random.default_rng(seed)
        weights = np.array([len(codes) for codes in long], np.float64)
        chosen = []
        for _ in range(count):
            pieces = []
            for _ in range(8):
                codes = long[random.choice(len(long), p=weights / weights.sum())]
                start = random.integers(len(codes) - samples + 1)
                pieces.append(np.asarray(codes[start : start + samples]))
            chosen.append(max(pieces, key=lambda piece: float(np.sum(codec.expand(piece) ** 2))))
        return np.stack(chosen)

    def example(self, seconds: float, seed: int) -> NDArray[np.float64]:
        """Real audio float [n], decoded from codes as generated audio is; as long as the test part allows."""
        samples = round(seconds * self.settings["sample_rate"])
        order = np.random.default_rng(seed).permutation(len(self.ranges))
        codes = np.concatenate([self.ranges[i] for i in order])[:samples]
        return codec.decode(codes, self.settings["preemphasis"])


def file_prompt(path: str | Path, seconds: float, settings: dict[str, Any]) -> NDArray[np.uint8]:
    """The first `seconds` of a recording of any rate and channels, as codes uint8 [n] of the model's codec.

    Raises
    ------
    AudioRNNError
        If the file is missing, unreadable, shorter than asked, or silent.
    """
    rate, wanted = settings["sample_rate"], round(seconds * settings["sample_rate"])
    blocks: list[NDArray[np.float64]] = []
    for block in audio.resample_blocks(path, rate, settings["highpass_hz"]):
        blocks.append(block)
        if sum(map(len, blocks)) >= wanted:
            break
    wave = np.concatenate(blocks)[:wanted] if blocks else np.zeros(0)
    if len(wave) < wanted:
        raise AudioRNNError(f"{path}: has {len(wave) / rate:.2f} s, but a prompt of {seconds:g} s was asked for")
    if (rms := float(np.sqrt(np.mean(wave**2)))) < SILENT_RMS:
        raise AudioRNNError(f"{path}: its first {seconds:g} s are silent ({dbfs(rms):.0f} dBFS): no prompt")
    return codec.encode(np.clip(wave, -1, 1), settings["preemphasis"])


def decode(codes: NDArray[np.uint8], prompt: NDArray[np.uint8], settings: dict[str, Any]) -> tuple[Any, float]:
    """The playable wave float [n] of codes [n] that continue a prompt [m], and the gain that made its peak safe.

    The filters run through the prompt first, so that the wave begins where the prompt ended.
    """
    wave = codec.decode(np.concatenate([prompt, codes]), settings["preemphasis"])
    return audio.peak_safe(wave, settings["sample_rate"], settings["highpass_hz"] or 20.0, skip=len(prompt))


def make(
    model: AudioModel, p: Generate, source: TestPart, prompt_file: Path | None, progress: bool = True
) -> tuple[list[Clip], float]:
    """Generate the clips that the `generate` section asks for: `count` at each temperature.

    Returns
    -------
    The clips, and the samples a second of all streams together, compilation not included.
    """
    settings = model.settings["codec"]
    rate = settings["sample_rate"]
    heat = [temperature for temperature in p.temperature for _ in range(p.count)]
    prompts = _prompts(p, source, prompt_file, len(heat))
    samples, marks = round(p.seconds * rate), []
    with tqdm(total=samples, desc="generate", unit="sample", disable=not progress) as bar:

        def show(done: int, seconds: float) -> None:
            marks.append((done, seconds))
            bar.set_postfix_str(f"{done / seconds / rate:.2f} x real time", refresh=False)
            bar.update(done - bar.n)

        codes = sampling.generate(model, samples, heat, prompt=prompts, seed=p.seed, on_progress=show)
    (first, begin), (last, end) = marks[0], marks[-1]
    speed = (last - first) * len(heat) / (end - begin) if last > first else last * len(heat) / end
    made = []
    for i, (temperature, stream) in enumerate(zip(heat, codes, strict=True)):
        before = np.zeros(0, np.uint8) if prompts is None else prompts[i]
        wave, gain = decode(stream, before, settings)
        made.append(Clip(f"{i + 1:02d}-temperature-{temperature:g}", temperature, rate, wave, gain))
    return made, speed


def _prompts(p: Generate, source: TestPart, file: Path | None, streams: int) -> NDArray[np.uint8] | None:
    if file is not None:
        return np.repeat(file_prompt(file, p.prompt_seconds, source.settings)[None], streams, axis=0)
    if p.prompt is None:
        return None
    return source.prompts(streams, round(p.prompt_seconds * source.settings["sample_rate"]), p.seed)
