"""Diagnosis of a clip in numbers and words: silence, clipping, noise, tones, loops.

A clip is judged as a whole and, if it is long enough, by its second half alone: generated audio tends to start well and
to degrade into noise, hum or a loop. Each threshold lies between the values measured on real speech and music and those
measured on the defect; docs/diagnosis.md has the tables and the command that prints them.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from audiornn.audio.decoders import open_audio
from audiornn.audio.levels import SILENT_DBFS, dbfs
from audiornn.audio.waves import read_blocks
from audiornn.common.errors import AudioRNNError
from audiornn.diagnostics.features import (
    MIN_RATE,
    MIN_SECONDS,
    TONE_CHANGE_DB,
    Array,
    Loop,
    Sound,
    check_wave,
    clipped_share,
)

if TYPE_CHECKING:
    from audiornn.diagnostics.reference import Reference

MOSTLY_SILENT = 0.6  # share of silent frames
CLIPPED = 0.001  # share of samples on flat tops
DC = 0.01  # share of full scale
NOISE_FLATNESS = 0.45

# Findings that are ignored where real audio has them, too: in at least this share of the reference's passages.
IGNORED_IF_COMMON = {"mostly-silent", "noise", "tone", "looping"}
COMMON_SHARE = 0.1


@dataclass(frozen=True)
class Finding:
    """One abnormality of a clip.

    Attributes
    ----------
    kind
        `silent`, `mostly-silent`, `clipped`, `dc`, `noise`, `tone`, `looping`, `far-from-reference` or `too-short`.
    advice
        What was found, and a remedy.
    """

    kind: str
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """Measurements and findings of a clip.

    Attributes
    ----------
    seconds
        Length.
    rms_dbfs, peak_dbfs
        Levels relative to full scale, at least -120; the RMS excludes the inaudible DC offset.
    silent_share
        Share of 32 ms frames below -60 dBFS.
    clipped_share
        Share of samples on flat tops or beyond full scale.
    dc
        DC offset as a share of full scale.
    flatness
        Near 0 for tones, about 0.6 for noise of any colour.
    centroid_hz
        Mean frequency, weighted by power; 0 for digital silence.
    level_variation_db
        Variation of the spectrum over time; near 0 for a steady tone.
    loop_period_seconds
        None if the clip does not loop.
    loop_similarity
        Normalised autocorrelation at that period, 1 for an exact copy. Without a loop, that of the best candidate, or 0
        if there is none.
    distance_db, distance_limit_db
        Fréchet distance from the reference in dB (RMS over bands), and the limit for real audio of this length; None
        without a reference, and for a clip that is silent or too short.
    findings
        Abnormalities; empty for a good clip.
    """

    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    silent_share: float
    clipped_share: float
    dc: float
    flatness: float
    centroid_hz: float
    level_variation_db: float
    loop_period_seconds: float | None
    loop_similarity: float
    distance_db: float | None
    distance_limit_db: float | None
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON types: finite numbers, strings, lists and None."""
        return asdict(self) | {"findings": [asdict(finding) for finding in self.findings]}

    def describe(self) -> str:
        """Measurements in indented lines, then one line per finding."""
        loop = "no loop" if self.loop_period_seconds is None else f"loop of {self.loop_period_seconds:.3f} s"
        offset = round(self.dc, 4) + 0.0  # no -0.0000
        lines = [
            f"level      RMS {self.rms_dbfs:.1f} dBFS, peak {self.peak_dbfs:.1f} dBFS, offset {offset:.4f}, "
            f"{self.silent_share:.0%} silent, {self.clipped_share:.2%} clipped",
            f"sound      flatness {self.flatness:.2f}, centroid {self.centroid_hz:.0f} Hz, "
            f"change {self.level_variation_db:.1f} dB, {loop} (similarity {self.loop_similarity:.2f})",
        ]
        if self.distance_db is not None:
            lines += [f"reference  {self.distance_db:.1f} dB away, real audio within {self.distance_limit_db:.1f} dB"]
        lines += [f"{finding.kind}: {finding.advice}" for finding in self.findings] or ["nothing abnormal"]
        return "\n".join(f"  {line}" for line in lines)


def diagnose(wave: ArrayLike, sample_rate: int, reference: "Reference | None" = None) -> Diagnosis:
    """Measure a clip and list its abnormalities.

    Parameters
    ----------
    wave
        Float [n], full scale at ±1.
    sample_rate
        In Hz, at least 1000.
    reference
        Real audio at the same rate to compare with. What is common in it is not reported as noise, tone, looping or
        mostly silent: a model of rain may sound like rain.

    Returns
    -------
    The measurements and the findings.

    Raises
    ------
    AudioRNNError
        If the wave is empty, not mono or not finite, the rate is too low, or not the reference's.

    Examples
    --------
    >>> import numpy as np
    >>> hum = diagnose(0.3 * np.sin(2 * np.pi * 100 * np.arange(16000) / 8000), 8000)
    >>> [finding.kind for finding in hum.findings], round(hum.rms_dbfs, 1), round(hum.centroid_hz)
    (['tone'], -13.5, 100)
    """
    x = check_wave(wave, sample_rate)
    if reference is not None and reference.sample_rate != sample_rate:
        raise AudioRNNError(f"the clip is at {sample_rate} Hz, but the reference at {reference.sample_rate} Hz")
    dc = float(x.mean())
    whole = Sound(x - dc, sample_rate)
    loop = whole.loop if whole.audible else Loop(None, 0.0)
    clipped = 0.0
    # of a loop, one period only: repeated often, a single peak would look like a flat top
    if whole.rms_dbfs >= SILENT_DBFS:
        clipped = clipped_share(x[-round((loop.seconds or whole.seconds) * sample_rate) :])
    findings = [*_judge_levels(whole, clipped, dc)]
    if whole.audible:
        for part in whole.parts():
            finding = _judge_sound(part, "It" if part is whole else "Its second half")
            if finding and all(finding.kind != known.kind for known in findings):
                findings.append(finding)
                loop = part.loop if finding.kind == "looping" else loop
    if reference is not None and any(finding.kind in IGNORED_IF_COMMON for finding in findings):
        findings = [finding for finding in findings if finding.kind not in reference.usual]
    distance = limit = None
    if reference is not None and whole.audible:
        distance, limit = reference.distance(whole), reference.limit(whole.seconds)
        if distance > limit:
            findings.append(_judge_distance(whole, distance, limit, reference.centroid_hz))
    return Diagnosis(
        seconds=whole.seconds,
        rms_dbfs=whole.rms_dbfs,
        peak_dbfs=dbfs(float(np.abs(x).max())),
        silent_share=whole.silent_share,
        clipped_share=clipped,
        dc=dc,
        flatness=whole.flatness,
        centroid_hz=whole.centroid_hz,
        level_variation_db=whole.level_variation_db,
        loop_period_seconds=loop.seconds,
        loop_similarity=loop.similarity,
        distance_db=distance,
        distance_limit_db=limit,
        findings=tuple(findings),
    )


def read_clip(path: str | Path) -> tuple[Array, int]:
    """A recording as mono wave float [n], unfiltered, and its sample rate in Hz.

    Raises
    ------
    AudioRNNError
        If it cannot be read, is empty, or has a sample rate below 1000 Hz.
    """
    with open_audio(path) as file:
        rate = int(file.samplerate)
    blocks = [block.mean(axis=1, dtype=np.float64) for block in read_blocks(path)]
    if not blocks:
        raise AudioRNNError(f"{path}: empty")
    if rate < MIN_RATE:
        raise AudioRNNError(f"{path}: has a sample rate of {rate} Hz, but must have at least {MIN_RATE} Hz")
    return np.concatenate(blocks), rate


def _judge_levels(sound: "Sound", clipped: float, dc: float) -> Iterator[Finding]:
    if sound.seconds < MIN_SECONDS:
        length = int(sound.seconds * 100) / 100
        yield Finding("too-short", f"{length:.2f} s are too short to judge: generate at least {MIN_SECONDS:g} s.")
    if sound.rms_dbfs < SILENT_DBFS:
        yield Finding(
            "silent",
            f"There is nothing to hear at {sound.rms_dbfs:.0f} dBFS: raise the temperature and prompt with real audio; "
            "if it stays silent, train longer.",
        )
    elif sound.silent_share > MOSTLY_SILENT:
        yield Finding(
            "mostly-silent",
            f"{sound.silent_share:.0%} of it is silent: raise the temperature and prompt with real audio; if the "
            "recordings hold long pauses, cut those out and train again.",
        )
    if clipped >= CLIPPED:
        yield Finding(
            "clipped",
            f"{clipped:.1%} of its samples are cut off flat: lower the temperature, and leave out recordings that are "
            "clipped themselves.",
        )
    if abs(dc) >= DC and sound.seconds >= MIN_SECONDS:
        yield Finding(
            "dc", f"It has a DC offset of {dc:+.3f} of full scale: set resample.highpass_hz to 20 and train again."
        )


def _judge_sound(sound: "Sound", it: str) -> Finding | None:
    if sound.loop.seconds is not None:
        return Finding(
            "looping",
            f"{it} repeats every {sound.loop.seconds:.3f} s: raise the temperature; if it still does, train with more "
            "context, or on more varied recordings.",
        )
    if sound.flatness > NOISE_FLATNESS:
        return Finding(
            "noise",
            f"{it} is noise: train longer; if the loss falls no further, lower the temperature, then try a larger "
            "model.",
        )
    if sound.level_variation_db < TONE_CHANGE_DB:
        return Finding(
            "tone",
            f"{it} is a steady tone around {sound.centroid_hz:.0f} Hz: raise the temperature; if it stays, train "
            "longer, or with more context.",
        )
    return None


def _judge_distance(sound: "Sound", distance: float, limit: float, usual_hz: float) -> Finding:
    advice = "train longer, then try more context or a larger model."
    if not usual_hz / 1.3 < sound.centroid_hz < 1.3 * usual_hz:
        brighter = sound.centroid_hz > usual_hz
        advice = (
            f"it is {'brighter' if brighter else 'duller'}, with its centroid at {sound.centroid_hz:.0f} instead of "
            f"{usual_hz:.0f} Hz; {'lower' if brighter else 'raise'} the temperature, or train longer."
        )
    return Finding(
        "far-from-reference",
        f"It differs from the reference by {distance:.1f} dB, where real audio stays within {limit:.1f} dB: {advice}",
    )
