"""Report of a run as a self-contained HTML page with figures and audio."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audiornn.common.serialization import read_json, read_yaml
from audiornn.preparation.recordings import REAL_CLIP
from audiornn.provenance.overrides import flatten
from audiornn.provenance.reproduction import Reproduction, reproduction
from audiornn.report import embedding, recordings
from audiornn.report.recordings import RecordingsList
from audiornn.report.results import ClipResults, Results, read_results

TEMPLATE = "page.html"
MAX_SEARCHED = 20_000  # recordings that the page's search knows, about 100 bytes each; those with notes come first
MAX_LISTED = 100  # recordings of a kind that are named on the page; the MLflow run has all


@dataclass(frozen=True)
class EmbeddedClip:
    """A player on the page: `notes` are lines below it, `warning` lists abnormalities."""

    title: str
    file: Path
    notes: Sequence[str] = ()
    warning: str = ""


@dataclass(frozen=True)
class Page:
    """Content of a report.

    Attributes
    ----------
    title, run_id
        Of the run.
    results
        Name, value and explanation of each number.
    params
        Content of params.yaml.
    reproduction
        See `reproduction`.
    pictures
        PNG files by name: curves, context, calibration, codes, passages, generated.
    history, context
        Rows of the curves.
    passages, real, clips
        Audio on the page.
    omitted
        Number of clips that are not on the page.
    recordings
        What the model was made of.
    seconds
        Maximum length of each player.
    """

    title: str
    run_id: str
    results: Sequence[tuple[str, str, str]]
    params: Mapping[str, Any]
    reproduction: Reproduction
    pictures: Mapping[str, Path]
    history: Sequence[Mapping[str, str]]
    context: Sequence[Mapping[str, str]]
    passages: Sequence[EmbeddedClip]
    real: EmbeddedClip
    clips: Sequence[EmbeddedClip]
    omitted: int
    recordings: RecordingsList
    seconds: float


def render(page: Page) -> str:
    """The page as HTML. All text is escaped; figures and audio are data URIs."""
    environment = embedding.templates()
    environment.filters |= {
        "picture": lambda name: embedding.data_uri("image/png", page.pictures[name].read_bytes()),
        "sound": lambda sound: embedding.sound(*embedding.wave(sound.file, page.seconds)),
        "spectrogram": lambda sound: embedding.spectrogram(*embedding.wave(sound.file, page.seconds), sound.title),
    }
    used = [recording for recording in page.recordings.recordings if recording.used and not recording.notes]
    known = [*page.recordings.left_out, *page.recordings.noted, *used]
    text = environment.get_template(TEMPLATE).render(
        page=page,
        params=dict(flatten(page.params)),
        max_listed=MAX_LISTED,
        searched=[(r.path, r.used, r.seconds, r.sample_rate, r.channels, r.notes) for r in known[:MAX_SEARCHED]],
        not_searched=len(known[MAX_SEARCHED:]),
    )
    return f"{text}\n"


def collect(root: str | Path, run_id: str, clips: int = 8, seconds: float = 30.0) -> Page:
    """Collect the results of the pipeline's stages in a folder.

    Parameters
    ----------
    root
        The workspace.
    run_id
        Of the MLflow run.
    clips, seconds
        Maximum number of generated clips on the page, and of seconds of each.

    Raises
    ------
    AudioRNNError
        If a file with numbers is missing or damaged; see `read_results`.
    """
    root = Path(root)
    params = read_yaml(root / "params.yaml", "keys and values")
    results = read_results(root)
    names = ("curves", "context", "calibration", "passages", "generated", "codes")
    sounds = [
        EmbeddedClip(
            title=name,
            file=root / f"generated/{name}.wav",
            notes=_levels(clip),
            warning="" if clip.findings == "none" else clip.advice,
        )
        for name, clip in results.clips.items()
    ]
    config = read_json(root / "models/config.json")
    return Page(
        title=f"{config['model']['name']}, context {config['window']['context']}",
        run_id=run_id,
        results=list(_rows_of_results(results)),
        params=params,
        reproduction=reproduction(root, params),
        pictures={name: root / f"figures/{name}.png" for name in names},
        history=_rows(root / "metrics/history.csv"),
        context=_rows(root / "metrics/evaluate-context.csv"),
        passages=[
            EmbeddedClip(title=file.stem.replace("-", " "), file=file)
            for file in sorted((root / "passages").glob("*.wav"))
        ],
        real=EmbeddedClip(title="real (test split)", file=root / "generated" / REAL_CLIP),
        clips=sounds[:clips],
        omitted=len(sounds[clips:]),
        recordings=recordings.collect(root),
        seconds=seconds,
    )


def _rows_of_results(results: Results) -> Iterator[tuple[str, str, str]]:
    """Name, value and explanation of the main results."""
    train, test, made, bits = results.training, results.scores.test, results.generation, results.scores.validation
    entropy = results.codes.code_entropy_bits
    yield "Test loss", f"{test.bits_per_sample:.3f} bits per sample", f"{test.targets:,} codes; lower is better"
    yield "Validation loss", f"{bits.bits_per_sample:.3f} bits per sample", "of the weights kept"
    yield "Entropy of a single code", f"{entropy:.3f} bits", "what a model without memory needs"
    yield "Test accuracy", f"{test.accuracy:.1%}", f"in the top 5: {test.top5_accuracy:.1%}"
    yield "Calibration error", f"{test.calibration_error:.4f}", "mean gap between probability and frequency"
    yield "Parameters", f"{train.parameters:,}", "weights of the model"
    kept = f"the weights of epoch {train.best_epoch:g} are kept"
    yield "Training", f"{train.steps:,} updates, {train.epochs:g} epochs", kept
    yield "Training speed", f"{train.targets_per_second:,.0f} targets/s", "without validation"
    yield "Generation speed", f"{made.real_time_factor:.2f} × real time", f"{made.samples_per_second:,.0f} samples/s"
    near = f"mean over a fixed set of clips; the limit for real audio is {made.distance_limit_db:.1f} dB"
    if made.distance_db is None or made.distance_ratio is None:
        yield "Distance from real audio", "silent", near
    else:
        yield "Distance from real audio", f"{made.distance_db:.1f} dB ({made.distance_ratio:.2f} × limit)", near
    yield "Clips with findings", f"{made.clips_with_findings:.0%}", f"of the same set; findings: {made.findings}"
    standing = results.standing
    yield "Sound", "acceptable" if standing.acceptable else "not acceptable yet", standing.expectation
    real = f"real audio of a clip's length: {made.real_code_divergence:.3f}"
    yield "Divergence of generated codes", f"{made.code_divergence:.3f} bits", real
    if train.diverged:
        yield "Warning", "training diverged", "a lower train.learning_rate or train.clip_norm may help"


def _levels(clip: ClipResults) -> list[str]:
    """Measurements of a clip, in lines."""
    lines = [
        f"{clip.seconds:.2f} s, RMS {clip.rms_dbfs:.1f} dBFS, peak {clip.peak_dbfs:.1f} dBFS, "
        f"{clip.silent_share:.0%} silent",
        f"flatness {clip.flatness:.2f}, centroid {clip.centroid_hz:.0f} Hz, codes {clip.code_divergence:.3f} "
        "bits from the test split",
    ]
    if clip.distance_db is not None and clip.distance_limit_db is not None:
        limit = f"real audio stays within {clip.distance_limit_db:.1f} dB"
        lines.append(f"{clip.distance_db:.1f} dB from the test split; {limit}")
    return lines


def _rows(file: Path) -> list[dict[str, str]]:
    """The rows of a csv file, with rounded numbers."""
    rows = pd.read_csv(file, dtype=float)
    return rows.map("{:.4g}".format).to_dict("records")
