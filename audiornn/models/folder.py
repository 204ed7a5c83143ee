"""Folders of models: where they are, and what their files are called. TensorFlow is not needed for that."""

import re
from pathlib import Path

RUN_ID = re.compile("[0-9a-f]{32}")
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
REMEDY = "copy the folder again from where it came, or run dvc repro train"


def source_folder(source: str | Path, workspace: str | Path) -> Path:
    """The folder of a model, which need not exist.

    Parameters
    ----------
    source
        The folder itself, in the workspace or from here. Or, in the MLflow store, a model such as
        `models:/audiornn@champion`, or the id of a run where there is no folder of that name.
    workspace
        Folder of the default store.

    Raises
    ------
    AudioRNNError
        If the store has no such model.
    """
    folders = [folder for folder in (Path(workspace) / source, Path(source)) if folder.exists()]
    if str(source).startswith("models:/") or (RUN_ID.fullmatch(str(source)) and not folders):
        from audiornn.tracking.models.registry import model_folder

        return model_folder(Path(workspace).absolute(), str(source))
    return folders[0] if folders else Path(workspace) / source
