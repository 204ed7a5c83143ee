"""The models, by name, and their form on disk: `config.json` and `model.weights.h5`, neither of which holds code."""

import re
from pathlib import Path
from typing import Any

from audiornn.errors import AudioRNNError
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.models.audiornn import AudioRNN
from audiornn.models.base import AudioModel

REGISTRY: dict[str, type[AudioModel]] = {"audiornn": AudioRNN}
RUN_ID = re.compile("[0-9a-f]{32}")
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def build(name: str, **sizes: int) -> AudioModel:
    """A model with fresh weights.

    Raises
    ------
    AudioRNNError
        If there is no model of that name, or it has no such sizes.
    """
    if name not in REGISTRY:
        raise AudioRNNError(f"train.model.name is {name!r}, but must be one of {', '.join(REGISTRY)}")
    try:
        model = REGISTRY[name](**sizes)
    except TypeError as error:
        raise AudioRNNError(f"train.model: {name} does not take these sizes: {error}") from None
    model.build_weights()
    return model


def save(model: AudioModel, folder: str | Path, extra_files: dict[str, Any] | None = None) -> None:
    """Store a model as a folder: weights, and a configuration that holds its name, sizes and `settings`.

    `extra_files` are further JSON files by name. The folder appears whole or not at all.
    """
    with atomic_folder(folder) as partial:
        write_json(partial / CONFIG, {"model": {"name": model.name, **model.sizes}, **model.settings})
        for name, content in (extra_files or {}).items():
            write_json(partial / name, content)
        model.save_weights(partial / WEIGHTS)


def load(path: str | Path) -> AudioModel:
    """Load a trained model from a folder that the train stage wrote.

    Nothing in the folder is executed.

    Parameters
    ----------
    path
        The folder with `config.json` and `model.weights.h5`; or, where there is no such folder, the id of an MLflow run
        in the store of the current folder.

    Returns
    -------
    The model; its `settings` hold `codec` (`sample_rate` in Hz, `preemphasis`) and `window` (`context`, `span`).

    Raises
    ------
    AudioRNNError
        If the folder, a file or an entry is missing, or the weights do not fit the configuration.

    Examples
    --------
    >>> import audiornn, numpy as np                     # doctest: +SKIP
    >>> model = audiornn.load("models")                  # doctest: +SKIP
    >>> model(np.full([1, 100], 128)).shape              # doctest: +SKIP
    TensorShape([1, 100, 256])
    """
    if RUN_ID.fullmatch(str(path)) and not Path(path).exists():
        from audiornn.tracking import model_of_run

        path = model_of_run(Path.cwd(), str(path))
    path = Path(path)
    config = read_json(path / CONFIG)
    try:
        description = dict(config.pop("model"))
        model = build(description.pop("name"), **description)
    except (KeyError, AttributeError):
        raise AudioRNNError(f"{path / CONFIG}: has no entry 'model' with a 'name'") from None
    if not (path / WEIGHTS).is_file():
        raise AudioRNNError(f"{path / WEIGHTS}: no such file")
    try:
        model.load_weights(path / WEIGHTS)
    except (ValueError, OSError, KeyError) as error:
        raise AudioRNNError(f"{path / WEIGHTS}: does not fit {CONFIG}: {str(error).splitlines()[0]}") from None
    model.settings = config
    return model
