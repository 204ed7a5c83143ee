"""Storage of models: `config.json` and `model.weights.h5`, neither of which contains code."""

import inspect
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import create_model

from audiornn.codec import CodecSettings
from audiornn.errors import AudioRNNError
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.models.base import AudioModel, TrainingWindow
from audiornn.models.registry import REGISTRY, model_class
from audiornn.validation import Section, parse, validate
from audiornn.waits import announced

RUN_ID = re.compile("[0-9a-f]{32}")
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def complete(name: str, sizes: dict[str, Any], where: str = "train.model") -> dict[str, Any]:
    """All sizes of a model: the given ones, validated against the constructor's signature, and defaults.

    Parameters
    ----------
    name
        One of `REGISTRY`.
    sizes
        Arguments of the model's constructor; types and ranges are those of its annotations.
    where
        Prefix of error messages.

    Raises
    ------
    AudioRNNError
        If there is no model of that name, a size has the wrong type or range, or there is no such size.
    """
    if name not in REGISTRY:
        raise AudioRNNError(f"{where}: name is {name!r}, but must be one of {', '.join(REGISTRY)}")
    signature = inspect.signature(model_class(name).__init__, eval_str=True).parameters
    fields: dict[str, Any] = {
        key: (size.annotation, ... if size.default is size.empty else size.default)
        for key, size in signature.items()
        if key != "self"
    }
    return validate(create_model(name, __base__=Section, **fields), sizes, where).model_dump()


def build(name: str, **sizes: Any) -> AudioModel:
    """A model with fresh weights.

    Raises
    ------
    AudioRNNError
        As `complete`.
    """
    return _build(name, complete(name, sizes))


def _build(name: str, sizes: dict[str, Any]) -> AudioModel:
    model = model_class(name)(**sizes)
    model.name, model.sizes = name, sizes
    model.build_weights()
    return model


def save(model: AudioModel, folder: str | Path, extra_files: dict[str, Any] | None = None) -> None:
    """Store a model as a folder: weights, and a configuration that holds its name, sizes, codec and window.

    `extra_files` are further JSON files by name. The folder is written atomically.
    """
    with atomic_folder(folder) as partial:
        sizes = {"name": model.name, **model.sizes}
        write_json(partial / CONFIG, {"model": sizes, "codec": asdict(model.codec), "window": asdict(model.window)})
        for name, content in (extra_files or {}).items():
            write_json(partial / name, content)
        model.save_weights(partial / WEIGHTS)


@dataclass(frozen=True)
class _Stored:
    """What config.json holds beside the model."""

    codec: CodecSettings
    window: TrainingWindow


def load(path: str | Path) -> AudioModel:
    """Load a trained model from a folder written by the train stage.

    Nothing in the folder is executed.

    Parameters
    ----------
    path
        The folder with `config.json` and `model.weights.h5`. Or, in the MLflow store of the current folder, a model
        such as `models:/audiornn@champion`, or the id of a run where there is no folder of that name.

    Returns
    -------
    The model, with its `codec` (such as `codec.sample_rate`, in Hz) and the `window` that it was trained on.

    Raises
    ------
    AudioRNNError
        If the folder, a file or an entry is missing, the weights do not fit the configuration, or the store has no such
        model.

    Examples
    --------
    >>> import audiornn, numpy as np                     # doctest: +SKIP
    >>> model = audiornn.load("models")                  # doctest: +SKIP
    >>> model(np.full([1, 100], 128)).shape              # doctest: +SKIP
    TensorShape([1, 100, 256])
    """
    if str(path).startswith("models:/") or (RUN_ID.fullmatch(str(path)) and not Path(path).exists()):
        from audiornn.tracking.registry import model_folder

        path = model_folder(Path.cwd(), str(path))
    path = Path(path)
    if not (path / CONFIG).is_file():
        raise AudioRNNError(f"{path}: no model there ({CONFIG} is missing): run dvc repro first")
    config = read_json(path / CONFIG)
    try:
        sizes = dict(config["model"])
        name = sizes.pop("name")
    except (KeyError, TypeError, ValueError):
        raise AudioRNNError(f"{path / CONFIG}: has no entry 'model' with a 'name'") from None
    with announced("loading the model"):
        model = _build(name, complete(name, sizes, where=f"{path / CONFIG}: model"))
    if not (path / WEIGHTS).is_file():
        raise AudioRNNError(f"{path / WEIGHTS}: no such file: run dvc repro again")
    try:
        model.load_weights(path / WEIGHTS)
    except (ValueError, OSError, KeyError) as error:
        raise AudioRNNError(f"{path / WEIGHTS}: does not fit {CONFIG}: {str(error).splitlines()[0]}") from None
    stored = parse(_Stored, config, path / CONFIG)
    model.codec, model.window = stored.codec, stored.window
    return model
