"""Clips: generation, decoding, levels, wav files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audiornn.audio import waves
from audiornn.audio.levels import dbfs, make_playable
from audiornn.codec import CodecSettings
from audiornn.common.array_types import Codes, Wave
from audiornn.common.files import atomic_file
from audiornn.common.validation import validate
from audiornn.diagnostics import diagnosis as diagnosis_module
from audiornn.diagnostics.diagnosis import Diagnosis
from audiornn.diagnostics.reference import Reference
from audiornn.generation import prompts, sampling
from audiornn.generation.fused.draws import Limits
from audiornn.models.base import AudioModel
from audiornn.params import Generate

MAX_PLOTTED = 3  # maximum number of clips in the figure beside the real audio
DESCRIPTION = "clips.json"  # beside the clips of the generate stage: what `describe` says of each
DEFAULTS = Generate()


@dataclass(frozen=True)
class Clip:
    """A generated clip.

    `codes` are uint8 [n] as generated; `wave` is float [n] in [-1, 1], ready to play; `gain` is the factor applied to
    the wave or, with the peak mode `limit`, to its highest peak; 1 if none was needed.
    """

    name: str
    temperature: sampling.Temperature
    sample_rate: int
    codes: Codes
    wave: Wave
    gain: float
    peak_mode: str = "safe"

    @property
    def title(self) -> str:
        return f"generated, temperature {format_temperature(self.temperature)}"

    def levels(self) -> dict[str, Any]:
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
        """Levels in one line."""
        levels = self.levels()
        lowered = f"peaks lowered by up to {-dbfs(self.gain):.1f} dB"
        applied = lowered if self.peak_mode == "limit" else f"scaled by {self.gain:.2f}"
        return (
            f"{levels['seconds']:.1f} s, temperature {format_temperature(self.temperature)}, "
            f"RMS {levels['rms_dbfs']:.1f} dBFS, peak {levels['peak_dbfs']:.1f} dBFS"
            + (f", {applied}" if self.gain != 1 else "")
        )

    def write(self, folder: str | Path) -> Path:
        """Write a 16-bit wav, atomically, and return its path."""
        path = Path(folder) / f"{self.name}.wav"
        with atomic_file(path) as partial, waves.WaveWriter(partial, self.sample_rate, "PCM_16") as writer:
            writer.write(self.wave)
        return path


def diagnose(made: Sequence[Clip], reference: Reference) -> list[Diagnosis]:
    """Diagnoses of clips, compared with real audio."""
    return [diagnosis_module.diagnose(clip.wave, clip.sample_rate, reference) for clip in made]


def describe(made: Sequence[Clip], diagnoses: Sequence[Diagnosis]) -> dict[str, dict[str, Any]]:
    """Levels, measurements and findings of clips by name; kinds of findings and advice as one text each."""
    return {
        clip.name: {
            **diagnosis.as_dict(),
            **clip.levels(),
            "findings": ", ".join(finding.kind for finding in diagnosis.findings) or "none",
            "advice": " ".join(finding.advice for finding in diagnosis.findings),
        }
        for clip, diagnosis in zip(made, diagnoses, strict=True)
    }


def decode(codes: Codes, prompt: Codes, codec: CodecSettings, peak_mode: str = "safe") -> tuple[Wave, float]:
    """The playable wave float [n] of codes [n] that continue a prompt [m], and the gain that was applied.

    The filters run through the prompt first, so that the wave begins where the prompt ended. For `peak_mode` see
    `audiornn.audio.levels.make_playable`.
    """
    wave = codec.decode(np.concatenate([prompt, codes]))
    return make_playable(wave, codec.sample_rate, codec.dc_blocker_hz, peak_mode, skip=len(prompt))


def generate_clips(
    model: AudioModel, p: Generate, prompt: Codes | None = None, progress: bool = False, title: str = "generate"
) -> tuple[list[Clip], float]:
    """Generate the clips of a `generate` section: `count` per temperature.

    Parameters
    ----------
    model
        With its codec.
    p
        The section; its `prompt` keys are ignored.
    prompt
        Codes uint8 [clips, n] to continue; without them clips start from silence.
    progress
        Whether to show a progress bar on stderr.
    title
        Of the bar.

    Returns
    -------
    The clips, and the samples per second of all streams together; compilation is not included where there is more than
    one block.
    """
    rate = model.codec.sample_rate
    temperatures = [temperature for temperature in p.temperature for _ in range(p.count)]
    samples, marks = max(1, round(p.seconds * rate)), []
    with tqdm(total=samples, desc=title, unit="sample", disable=not progress) as bar:

        def show(done: int, seconds: float) -> None:
            marks.append((done, seconds))
            bar.set_postfix_str(f"{done / seconds / rate:.2f} x real time", refresh=False)
            bar.update(done - bar.n)

        codes = sampling.generate(
            model,
            samples,
            temperatures,
            prompt=prompt,
            seed=p.seed,
            limits=Limits(p.top_k, p.top_p, p.confidence_threshold),
            engine_name=p.engine,
            on_progress=show,
        )
    (first, begin), (last, end) = marks[0], marks[-1]
    speed = (last - first) * len(temperatures) / (end - begin) if last > first else last * len(temperatures) / end
    made = []
    for i, (temperature, stream) in enumerate(zip(temperatures, codes, strict=True)):
        before = np.zeros(0, np.uint8) if prompt is None else prompt[i]
        wave, gain = decode(stream, before, model.codec, p.peak_mode)
        name = f"{i + 1:02d}-temperature-{format_temperature(temperature, '-to-')}"
        made.append(Clip(name, temperature, rate, stream, wave, gain, p.peak_mode))
    return made, speed


def format_temperature(temperature: sampling.Temperature, between: str = ":") -> str:
    return between.join(f"{t:g}" for t in (temperature if isinstance(temperature, tuple) else (temperature,)))


def generate(
    model: AudioModel,
    seconds: float = DEFAULTS.seconds,
    count: int = DEFAULTS.count,
    temperature: float | str | tuple[float, float] | Sequence[float | str | tuple[float, float]] = 1.0,
    *,
    prompt: str | Path | None = None,
    prompt_offset: float = DEFAULTS.prompt_offset,
    prompt_seconds: float = DEFAULTS.prompt_seconds,
    seed: int = DEFAULTS.seed,
    top_k: int = DEFAULTS.top_k,
    top_p: float = DEFAULTS.top_p,
    confidence_threshold: float = DEFAULTS.confidence_threshold,
    peak_mode: str = DEFAULTS.peak_mode,
    engine: str = DEFAULTS.engine,
) -> NDArray[np.float32]:
    """Generate audio with a trained model.

    Parameters
    ----------
    model
        From `audiornn.load`.
    seconds
        Of each clip.
    count
        Clips per temperature.
    temperature
        One, or a list of several: below 1 is tamer, above 1 wilder, 0 always takes the likeliest code. A pair, or a
        string such as `0.7:1.1`, is a ramp from the start of the clip to its end.
    prompt, prompt_offset, prompt_seconds
        An audio file to continue, of any sample rate and number of channels, and the passage to use. Without one, clips
        start from silence. The result does not include the prompt.
    seed
        Random seed; with the same model and settings it gives the same clips.
    top_k, top_p, confidence_threshold
        Restrict sampling to likely codes; see `audiornn.generation.fused.draws.Limits`. All defaults are those of
        `audiornn.params.Generate`.
    peak_mode
        How peaks are treated; see `audiornn.audio.levels.make_playable`.
    engine
        One of `audiornn.generation.engines.ENGINES`.

    Returns
    -------
    float32 [clips, n] in [-1, 1] at `model.codec.sample_rate` Hz.

    Raises
    ------
    AudioRNNError
        If an argument is out of range, or the prompt cannot be used.

    Examples
    --------
    >>> import audiornn                                            # doctest: +SKIP
    >>> model = audiornn.load("models")                            # doctest: +SKIP
    >>> audiornn.generate(model, seconds=2, count=3).shape         # doctest: +SKIP
    (3, 16000)
    """
    request = {"seconds": seconds, "count": count, "temperature": temperature, "seed": seed, "top_k": top_k}
    request |= {"top_p": top_p, "confidence_threshold": confidence_threshold, "peak_mode": peak_mode, "engine": engine}
    request |= {"prompt_offset": prompt_offset, "prompt_seconds": prompt_seconds}
    p = validate(Generate, request, "generate")
    made, _ = generate_clips(model, p, prompts.load(prompt, p, model.codec))
    return np.stack([clip.wave for clip in made]).astype(np.float32)
