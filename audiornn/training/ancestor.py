"""The model that a training starts from, `train.start_from`: where it is and what identifies it."""

from dataclasses import asdict, dataclass
from pathlib import Path

from audiornn.common.digests import check_file, sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json
from audiornn.common.validation import Sha256, Size, parse
from audiornn.models.folder import CONFIG, REMEDY, WEIGHTS, source_folder
from audiornn.tracking.runs import RUN_FILE, read_run_id


@dataclass(frozen=True)
class Ancestor:
    """A model that a training starts from.

    Attributes
    ----------
    source
        `train.start_from`: a folder, the id of a run, or a URI of MLflow's.
    folder
        Where its files are.
    weights_sha256
        SHA-256 of its weights.
    run_id
        The MLflow run that trained it, if known.
    steps
        Updates that led to its weights, those of its own ancestors included; 0 if unknown.
    """

    source: str
    folder: Path
    weights_sha256: str
    run_id: str | None
    steps: int

    def summary(self) -> dict[str, str | int | None]:
        """What identifies it, wherever its files are."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


@dataclass(frozen=True)
class _Config:
    """The keys of config.json that matter here; models of earlier versions lack them."""

    weights_sha256: Sha256 | None = None
    trained_steps: Size = 0


def find(source: str, workspace: str | Path = ".") -> Ancestor:
    """The model that `train.start_from` names; its weights are compared with their digest, but not loaded.

    Parameters
    ----------
    source
        A folder, relative to the workspace or to here, the id of an MLflow run, or a URI such as
        `models:/audiornn@champion`.
    workspace
        Folder of the default store.

    Raises
    ------
    AudioRNNError
        If there is no model, or its weights are damaged.
    """
    folder = source_folder(source, workspace)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise AudioRNNError(
                f"train.start_from is {source!r}, but must be the folder of a model, the id of an MLflow run, or a "
                f"registered model such as models:/audiornn@champion: {folder / name} is missing"
            )
    config = parse(_Config, read_json(folder / CONFIG), folder / CONFIG)
    if config.weights_sha256:
        check_file(folder / WEIGHTS, config.weights_sha256, REMEDY)
    run_file = folder / RUN_FILE
    run_id = read_run_id(run_file) if run_file.is_file() else None
    return Ancestor(
        source=source,
        folder=folder,
        weights_sha256=sha256(folder / WEIGHTS),
        run_id=run_id,
        steps=config.trained_steps,
    )
