"""Storage of models: `config.json` and `model.weights.h5`, neither of which contains code."""

import inspect
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import create_model

from audiornn.codec import CodecSettings
from audiornn.common.digests import check_file, sha256
from audiornn.common.errors import AudioRNNError, one_line, shown
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import Section, Sha256, Size, parse, validate
from audiornn.common.waits import announced
from audiornn.kernels.predictor import DEFAULT_RATE
from audiornn.models.base import AudioModel, TrainingWindow
from audiornn.models.folder import CONFIG, REMEDY, WEIGHTS, source_folder
from audiornn.models.registry import REGISTRY, model_class


def complete(
    name: str, sizes: dict[str, Any], where: str = "train.model", sample_rate: int = DEFAULT_RATE
) -> dict[str, Any]:
    """All sizes of a model: the given ones, validated against the constructor's signature, and defaults.

    Parameters
    ----------
    name
        One of `REGISTRY`.
    sizes
        Arguments of the model's constructor; types and ranges are those of its annotations.
    where
        Prefix of error messages.
    sample_rate
        Of the model's audio, in Hz; some defaults follow from it.

    Raises
    ------
    AudioRNNError
        If there is no model of that name, a size has the wrong type or range, or there is no such size.
    """
    if not isinstance(name, str) or name not in REGISTRY:
        raise AudioRNNError(f"{where}: name is {shown(name)}, but must be one of {', '.join(REGISTRY)}")
    signature = inspect.signature(model_class(name).__init__, eval_str=True).parameters
    fields: dict[str, Any] = {
        key: (size.annotation, ... if size.default is size.empty else size.default)
        for key, size in signature.items()
        if key != "self"
    }
    checked = validate(create_model(name, __base__=Section, **fields), sizes, where).model_dump()
    return model_class(name).sizes_at(checked, sample_rate)


def build(name: str, sample_rate: int = DEFAULT_RATE, **sizes: Any) -> AudioModel:
    """A model with fresh weights, for audio of a sample rate in Hz.

    Raises
    ------
    AudioRNNError
        As `complete`.
    """
    return _build(name, complete(name, sizes, sample_rate=sample_rate))


def _build(name: str, sizes: dict[str, Any]) -> AudioModel:
    model = model_class(name)(**sizes)
    model.name, model.sizes = name, sizes
    model.build_weights()
    return model


def save(model: AudioModel, folder: str | Path, extra_files: dict[str, Any] | None = None) -> None:
    """Store a model as a folder: weights, and a configuration with its name, sizes, codec, window, their digest, and
    how many updates led to them.

    `extra_files` are further JSON files by name. The folder is written atomically.
    """
    with atomic_folder(folder) as partial:
        model.save_weights(partial / WEIGHTS)
        config: dict[str, Any] = {
            "model": {"name": model.name, **model.sizes},
            "codec": asdict(model.codec),
            "window": asdict(model.window),
            "weights_sha256": sha256(partial / WEIGHTS),
        }
        if model.trained_steps is not None:
            config["trained_steps"] = model.trained_steps
        for name, content in {CONFIG: config, **(extra_files or {})}.items():
            write_json(partial / name, content)


@dataclass(frozen=True)
class _Stored:
    """What config.json holds beside the model; models of earlier versions have neither digest nor number of updates."""

    codec: CodecSettings
    window: TrainingWindow
    weights_sha256: Sha256 | None = None
    trained_steps: Size | None = None


def load(path: str | Path) -> AudioModel:
    """Load a trained model from a folder written by the train stage.

    Nothing in the folder is executed, and the weights are compared with their digest before they are read.

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
        If the folder, a file or an entry is missing, the weights are damaged, not finite or do not fit the
        configuration, or the store has no such model.

    Examples
    --------
    >>> import audiornn, numpy as np                     # doctest: +SKIP
    >>> model = audiornn.load("models")                  # doctest: +SKIP
    >>> model(np.full([1, 100], 128)).shape              # doctest: +SKIP
    TensorShape([1, 100, 256])
    """
    path = source_folder(path, ".")
    config_file, weights_file = path / CONFIG, path / WEIGHTS
    if not config_file.is_file():
        raise AudioRNNError(f"{path}: no model there ({CONFIG} is missing): run dvc repro first")
    config = read_json(config_file)
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict) or "name" not in config["model"]:
        raise AudioRNNError(f"{config_file}: has no entry 'model' with a 'name'")
    sizes = dict(config["model"])
    name = sizes.pop("name")
    sizes = complete(name, sizes, where=f"{config_file}: model")
    stored = parse(_Stored, config, config_file)
    if not weights_file.is_file():
        raise AudioRNNError(f"{weights_file}: no such file: run dvc repro again")
    if stored.weights_sha256:
        check_file(weights_file, stored.weights_sha256, REMEDY)
    with announced("loading the model"):
        model = _build(name, sizes)
    try:
        model.load_weights(weights_file)
    except Exception as error:  # whatever HDF5 and Keras make of a file that is something else
        raise AudioRNNError(f"{weights_file}: does not fit {CONFIG}: {one_line(error)}; {REMEDY}") from None
    for variable in model.variables:
        if not np.isfinite(variable.numpy()).all():
            raise AudioRNNError(f"{weights_file}: damaged: {variable.path} is not finite; {REMEDY}")
    model.codec, model.window, model.trained_steps = stored.codec, stored.window, stored.trained_steps
    return model
