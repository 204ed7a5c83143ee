"""The trained model as an MLflow pyfunc: one row per requested clip; the response holds the audio.

MLflow executes this file when a logged model is loaded (`mlflow.pyfunc.load_model`, `mlflow models serve`); it is
logged as code beside the folder with the weights: nothing is pickled.
"""

import base64
import binascii
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from audiornn.common.errors import AudioRNNError, one_line, shown
from audiornn.common.validation import did_you_mean, validate
from audiornn.generation import clips, prompts
from audiornn.models import storage
from audiornn.params import Generate
from audiornn.tracking.models.logged_model import REQUEST

COLUMNS = {name: kind for name, kind, _ in REQUEST}
KINDS = {"double": "a number", "long": "a whole number", "string": "text"}
# What one request may ask for: what is made of it is held in memory.
MAX_ROWS, MAX_SECONDS = 64, 300.0  # clips, and their length together
MAX_PROMPT_BYTES = 8 << 20  # of all prompts together


class RequestError(MlflowException):
    """A request that cannot be answered: status 400, and one line.

    The line stays as it is: MLflow's server would put the whole request before it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, INVALID_PARAMETER_VALUE)

    def __setattr__(self, name: str, value: object) -> None:
        if name != "message" or not hasattr(self, "message"):
            super().__setattr__(name, value)


class AudioGenerator(PythonModel):
    """Generate the clips that rows of a data frame ask for: `audiornn.tracking.models.logged_model.REQUEST`."""

    def load_context(self, context: PythonModelContext) -> None:
        self._model = storage.load(context.artifacts["model"])
        self._one_at_a_time = threading.Lock()  # engines use all cores, and memory should not grow with the requests
        # compile now, so that the first request need not wait
        clips.generate_clips(self._model, Generate(seconds=0.01))

    def predict(
        self, context: PythonModelContext | None, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One clip per row.

        Parameters
        ----------
        context
            MLflow's; ignored.
        model_input
            A data frame, or columns as a dict of lists: `seconds`, and optionally, with the defaults of
            `audiornn.params.Generate`: `temperature`, `top_k`, `top_p`, `confidence_threshold`, `seed`; `prompt`, an
            audio file of any format and sample rate in base64, and `prompt_seconds` of it, from `prompt_offset` on, to
            continue. A missing value (None, NaN) has its default.
        params
            Unused: everything is in the rows.

        Returns
        -------
        One row per clip: `sample_rate` in Hz, `seconds`, and `audio`, a 16-bit wav file in base64.

        Raises
        ------
        RequestError
            If there are other columns, a row has a value out of range or an unusable prompt, or all together ask for
            more than `MAX_SECONDS` or bring more than `MAX_PROMPT_BYTES`; a server then responds with 400.
        """
        try:
            rows = _rows(model_input)
            with self._one_at_a_time:
                return pd.DataFrame([self._clip(row, f"row {i}") for i, row in enumerate(rows)])
        except AudioRNNError as error:
            raise RequestError(one_line("; ".join(str(error).splitlines()))) from None

    def _clip(self, request: dict[str, Any], where: str) -> dict[str, Any]:
        prompt = request.pop("prompt", None)
        p = validate(Generate, request, where)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "prompt"
            try:
                if prompt is not None:
                    file.write_bytes(base64.b64decode(prompt, validate=True))
                codes = prompts.load(
                    None if prompt is None else file, p, self._model.codec, max_seconds=prompts.MAX_UPLOADED_SECONDS
                )
            except (binascii.Error, ValueError) as error:  # ValueError: text that is not ASCII
                raise AudioRNNError(f"{where}: prompt is not base64: {error}") from None
            except AudioRNNError as error:
                raise AudioRNNError(f"{where}: {str(error).replace(str(file), 'prompt')}") from None
            made, _ = clips.generate_clips(self._model, p, codes)
            audio = base64.b64encode(made[0].write(folder).read_bytes()).decode("ascii")
        return {"sample_rate": made[0].sample_rate, "seconds": len(made[0].wave) / made[0].sample_rate, "audio": audio}


def _rows(model_input: object) -> list[dict[str, Any]]:
    """The rows of a request, each with the values that it gives.

    Raises
    ------
    AudioRNNError
        If they are not what is documented, or ask for more than they may.
    """
    try:
        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
    except (TypeError, ValueError) as error:
        raise AudioRNNError(f"not a table: {error}; a request is rows with the columns {', '.join(COLUMNS)}") from None
    for column in frame.columns:
        if column not in COLUMNS:
            hint = did_you_mean(str(column), list(COLUMNS), f"known columns are {', '.join(COLUMNS)}")
            raise AudioRNNError(f"unknown column {shown(column)}; {hint}")
    if not 1 <= len(frame) <= MAX_ROWS:
        raise AudioRNNError(f"has {len(frame)} rows, but must have 1 to {MAX_ROWS}")
    rows: list[dict[str, Any]] = [
        {name: _typed(name, value, f"row {i}") for name, value in row.items() if not _is_missing(value)}
        for i, row in enumerate(frame.to_dict(orient="records"))
    ]
    for i, row in enumerate(rows):
        if "seconds" not in row:
            raise AudioRNNError(f"row {i}: has no seconds")
        if row.get("prompt_seconds", 0) > prompts.MAX_UPLOADED_SECONDS:
            raise AudioRNNError(f"row {i}: prompt_seconds must not exceed {prompts.MAX_UPLOADED_SECONDS:g}")
    if not (seconds := sum(row["seconds"] for row in rows)) <= MAX_SECONDS:
        raise AudioRNNError(f"seconds is {seconds:g} in all rows together, but must not exceed {MAX_SECONDS:g}")
    if (size := sum(len(row.get("prompt", "")) for row in rows) * 3 // 4) > MAX_PROMPT_BYTES:
        raise AudioRNNError(f"the prompts have {size:,} bytes, but must not exceed {MAX_PROMPT_BYTES:,}")
    return rows


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)


def _typed(name: str, value: object, where: str) -> object:
    """A value of a column as the type that is documented; pandas makes floats of integers where a row has none."""
    kind = COLUMNS[name]
    try:
        if kind == "string":
            if isinstance(value, str):
                return value
        elif not isinstance(value, str | bytes | bool):
            number = float(value)  # type: ignore[arg-type]
            if kind == "double":
                return number
            if number == (whole := int(value)):  # type: ignore[call-overload]
                return whole
    except (TypeError, ValueError, OverflowError):
        pass
    raise AudioRNNError(f"{where}: {name} is {shown(value)}, but must be {KINDS[kind]}")


set_model(AudioGenerator())
