"""The trained model as an MLflow pyfunc: one row per requested clip; the response holds the audio.

MLflow executes this file when a logged model is loaded (`mlflow.pyfunc.load_model`, `mlflow models serve`); it is
logged as code beside the folder with the weights: nothing is pickled.
"""

import base64
import binascii
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from audiornn.errors import AudioRNNError
from audiornn.generation import clips, prompts
from audiornn.models import storage
from audiornn.params import Generate
from audiornn.validation import validate


class AudioGenerator(PythonModel):
    """Generate the clips requested by the rows of a data frame; columns: `audiornn.tracking.logged_model.REQUEST`."""

    def load_context(self, context: PythonModelContext) -> None:
        self._model = storage.load(context.artifacts["model"])
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
            `seconds`, and optionally, with the defaults of params.yaml's section `generate`: `temperature`, `top_k`,
            `top_p`, `certain`, `seed`; `prompt`, an audio file of any format and sample rate in base64, and
            `prompt_seconds` of it, from `prompt_offset` on, to continue. A missing text or float (None, NaN) has its
            default; integers must be given in all rows or none.
        params
            Unused: everything is in the rows.

        Returns
        -------
        One row per clip: `sample_rate` in Hz, `seconds`, and `audio`, a 16-bit wav file in base64.

        Raises
        ------
        MlflowException
            If a row has a value out of range or an unusable prompt; a server then responds with 400.
        """
        rows = model_input.to_dict(orient="records")
        try:
            return pd.DataFrame([self._clip(row, f"row {i}") for i, row in enumerate(rows)])
        except AudioRNNError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None

    def _clip(self, row: dict[str, Any], where: str) -> dict[str, Any]:
        request = {key: value for key, value in row.items() if not pd.isna(value)}
        prompt = request.pop("prompt", None)
        p = validate(Generate, request, where)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "prompt"
            try:
                if prompt is not None:
                    file.write_bytes(base64.b64decode(prompt, validate=True))
                codes = prompts.load(None if prompt is None else file, p, self._model.codec)
            except binascii.Error as error:
                raise AudioRNNError(f"{where}: prompt is not base64: {error}") from None
            except AudioRNNError as error:
                raise AudioRNNError(f"{where}: {str(error).replace(str(file), 'prompt')}") from None
            made, _ = clips.generate_clips(self._model, p, codes)
            audio = base64.b64encode(made[0].write(folder).read_bytes()).decode("ascii")
        return {"sample_rate": made[0].sample_rate, "seconds": len(made[0].wave) / made[0].sample_rate, "audio": audio}


set_model(AudioGenerator())
