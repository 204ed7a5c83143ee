"""A model as a folder that any program can read: flat weights, a description in JSON, and a player in C."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from audiornn.audio.resampling import HIGHPASS_ORDER
from audiornn.codec import CodecSettings
from audiornn.common.digests import sha256
from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.models.base import AudioModel
from audiornn.params import Generate

FORMAT, VERSION = "audiornn-export", 1
DESCRIPTION, WEIGHTS = "model.json", "weights.bin"
PLAYER = Path(__file__).parent / "player"
COPIED = ("player.c", "Makefile", "README.md")
ALIGNMENT = 64  # bytes: each tensor begins at a multiple of it
COMPILED = "player"


def tensors(model: Any) -> dict[str, NDArray[np.float32]]:  # noqa: ANN401 - Keras has no types
    """The weights of a `samplernn`, by the names that docs/elsewhere.md explains."""
    named = {"embedding": model.tiers.embedding.table, "lookback.kernel": model.lookback.kernel}
    for i, (core, upsample) in enumerate(zip(model.tiers.cores, model.tiers.upsample, strict=True)):
        gru = core.gru
        named |= {f"tier_{i}.input.kernel": gru.kernel, f"tier_{i}.input.bias": gru.bias}
        named |= {f"tier_{i}.recurrent.kernel": gru.recurrent_kernel, f"tier_{i}.recurrent.bias": gru.recurrent_bias}
        named |= {f"tier_{i}.upsample.kernel": upsample.kernel, f"tier_{i}.upsample.bias": upsample.bias}
    for name, layer in (("hidden", model.hidden), ("head", model.head)):
        named |= {f"{name}.kernel": layer.kernel, f"{name}.bias": layer.bias}
    return {name: np.asarray(variable, "<f4") for name, variable in named.items()}


def export(model: AudioModel, folder: str | Path) -> None:
    """Write a model as a folder that a program without Python can play.

    Parameters
    ----------
    model
        A `samplernn` without `predictor`, with its codec.
    folder
        Written atomically. An earlier export is replaced.

    Raises
    ------
    AudioRNNError
        If it is another model, or the folder holds anything but an earlier export.
    """
    if model.name != "samplernn" or model.sizes["predictor"]:
        kind = f"{model.name} with predictor" if model.sizes.get("predictor") else model.name
        raise AudioRNNError(f"the model is {kind}, but only samplernn without predictor can be exported")
    folder = Path(folder).absolute()
    _check_replaceable(folder)
    with atomic_folder(folder) as partial:
        listed, offset = [], 0
        with open(partial / WEIGHTS, "wb") as file:
            for name, values in tensors(model).items():
                file.write(bytes(offset - file.tell()))
                file.write(values.tobytes())
                listed.append({"name": name, "shape": list(values.shape), "offset": offset})
                offset += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
            size = file.tell()
        defaults = Generate()
        description = {
            "format": FORMAT,
            "version": VERSION,
            "model": {"name": model.name, **model.sizes},
            "codec": _codec(model.codec),
            "sampling": {
                "temperature": defaults.temperature[0],
                "top_k": defaults.top_k,
                "top_p": defaults.top_p,
                "confidence_threshold": defaults.confidence_threshold,
                "seed": defaults.seed,
            },
            "weights": {
                "file": WEIGHTS,
                "type": "float32, little-endian",
                "bytes": size,
                "sha256": sha256(partial / WEIGHTS),
                "tensors": listed,
            },
        }
        write_json(partial / DESCRIPTION, description)
        for name in COPIED:
            shutil.copyfile(PLAYER / name, partial / name)


def _codec(codec: CodecSettings) -> dict[str, object]:
    """How codes become a wave: µ-law, de-emphasis, and the high-pass of streams as a second-order section."""
    cutoff = codec.dc_blocker_hz
    section = scipy.signal.butter(HIGHPASS_ORDER, cutoff, "highpass", fs=codec.sample_rate, output="sos")[0]
    names = ("b0", "b1", "b2", "a0", "a1", "a2")
    highpass = {name: float(value) for name, value in zip(names, section, strict=True) if name != "a0"}
    return {
        "sample_rate": codec.sample_rate,
        "codes": codec.codes,
        "preemphasis": codec.preemphasis,
        "highpass_hz": cutoff,
        "highpass": highpass,
    }


def _check_replaceable(folder: Path) -> None:
    """Make sure that nothing but an earlier export, or an empty folder, is where the export goes."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.resolve() == Path.cwd():  # it would be taken away from under the shell
        raise AudioRNNError(f"{folder}: is the current folder: name another one")
    if not folder.is_dir() or folder.is_symlink():
        raise AudioRNNError(f"{folder}: exists, but is not a folder: name one that is new, or an earlier export")
    held = {path.name for path in folder.iterdir()}
    if other := sorted(held - {DESCRIPTION, WEIGHTS, *COPIED, COMPILED}):
        raise AudioRNNError(f"{folder}: holds {other[0]!r}, which no export has: name a new folder")
    if not held:
        return
    found = read_json(folder / DESCRIPTION) if DESCRIPTION in held else None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise AudioRNNError(f"{folder}: is not an earlier export: name a new folder")
