"""The page on which clips of all settings of an experiment are side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_file
from audiornn.experiments.dvc import Runner
from audiornn.experiments.summary import Case, conclusion
from audiornn.naming import slug
from audiornn.preparation.recordings import REAL_CLIP
from audiornn.report import comparison
from audiornn.report.comparison import ComparedClip, ComparedSetting, Comparison

FOLDER = Path("comparisons")  # in the workspace
GENERATED = Path("generated")  # of the generate stage


def write(
    workspace: Path,
    name: str,
    description: str,
    found: Sequence[Case],
    runner: Runner,
    table: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    concluded: str = "",
) -> Path:
    """Write the page of an experiment to `comparisons/NAME.html` and return its path.

    Parameters
    ----------
    workspace
        That holds the folder.
    name, description
        Of the experiment.
    found
        Its settings.
    runner
        That ran them, and gives their clips.
    table, pictures
        The summary; PNG files by caption.
    concluded
        What follows; by default that of a sweep.
    """
    done = sorted((case for case in found if case.done), key=lambda case: (case.bits, case.label))
    page = Comparison(
        title=f"Experiment {name}",
        description=description,
        conclusion=concluded or conclusion(found),
        settings=[_setting(case, runner) for case in done[: comparison.MAX_SETTINGS]],
        left_out=len(done[comparison.MAX_SETTINGS :]),
        real=_real(done, runner),
        pictures=pictures,
        table=table,
    )
    path = workspace / FOLDER / f"{slug(name)}.html"
    with atomic_file(path) as partial:
        partial.write_text(comparison.render(page), encoding="utf-8")
    return path


def _setting(case: Case, runner: Runner) -> ComparedSetting:
    bits, error, standing = case.bits, case.error("validation_bits_per_sample"), case.standing
    notes = [f"{bits:.4f}{'' if error is None else f' ± {error:.4f}'} bits per sample on validation"]
    if standing.ratio is not None:
        notes.append(f"distance {standing.ratio:.2f} of the limit of real audio")
    try:
        described = json.loads(runner.read(case.name, str(GENERATED / "clips.json")))
        compared = [
            ComparedClip(
                name=name,
                wav=runner.read(case.name, str(GENERATED / f"{name}.wav")),
                origin=f"{clip.get('prompt', case.name)} {clip.get('seed')}",
                findings="" if clip["findings"] == "none" else clip["advice"],
            )
            for name, clip in list(described.items())[: comparison.MAX_CLIPS]
        ]
        return ComparedSetting(case.label, notes, compared, clips_left_out=len(described) - len(compared))
    except AudioRNNError as error_of_files:
        return ComparedSetting(case.label, notes, [], str(error_of_files))


def _real(done: Sequence[Case], runner: Runner) -> ComparedClip | None:
    for case in done[:1]:
        try:
            return ComparedClip("real audio (test split)", runner.read(case.name, str(GENERATED / REAL_CLIP)))
        except AudioRNNError:
            return None
    return None
