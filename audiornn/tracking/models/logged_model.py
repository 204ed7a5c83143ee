"""Logged models: signature, code and weights; nothing is pickled."""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from audiornn.common.digests import digest, sha256
from audiornn.common.waits import announced

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "model"  # name of a run's logged model, and of its artifact that holds the model folder
DIGEST_TAG = "model.digest"  # of a logged model: of all files in the model folder
# Packages that a served model needs; audiornn itself is logged with it.
REQUIREMENTS = (
    *("av", "joblib", "mlflow", "numba", "numpy", "pandas", "pydantic", "pyyaml", "scipy"),
    *("soundfile", "soxr", "tensorflow", "tqdm"),
)
# Columns of a request to a served model, and of its response: name, type, required. Requests are not in the signature:
# MLflow would drop columns that it does not know, and answer as if they had not been asked for.
REQUEST = (
    ("seconds", "double", True),
    ("temperature", "double", False),
    ("top_k", "long", False),
    ("top_p", "double", False),
    ("confidence_threshold", "double", False),
    ("seed", "long", False),
    ("prompt", "string", False),  # a recording of any format, in base64
    ("prompt_offset", "double", False),
    ("prompt_seconds", "double", False),
)
ANSWER = (("sample_rate", "long", True), ("seconds", "double", True), ("audio", "string", True))  # a wav in base64


def log_model(client: "MlflowClient", run_id: str, folder: str | Path) -> None:
    """Log a model's folder as the MLflow model of a run: code and weights, nothing pickled.

    `mlflow.pyfunc.load_model` and `mlflow models serve` accept it; requests and responses have the columns above. A
    model that the run already has is not logged again, and one whose logging was interrupted is completed.
    """
    import mlflow
    import pandas as pd
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    package = Path(__file__).parents[2]
    answer = Schema([ColSpec(kind, name, required=required) for name, kind, required in ANSWER])
    run = client.get_run(run_id)
    experiment = run.info.experiment_id
    files = {str(path.relative_to(folder)): sha256(path) for path in Path(folder).rglob("*") if path.is_file()}
    begun = client.search_logged_models([experiment], f"source_run_id = '{run_id}' and name = '{MODEL}'")
    same = [model for model in begun if model.tags.get(DIGEST_TAG) == digest(files)]
    logged = (
        same[0]
        if same
        else client.create_logged_model(
            experiment, MODEL, run_id, tags={DIGEST_TAG: digest(files)}, params=run.data.params, model_type="audio"
        )
    )
    if logged.status == "READY":
        return
    with announced("logging the model in MLflow"), TemporaryDirectory() as temporary:
        mlflow.pyfunc.save_model(
            f"{temporary}/{MODEL}",
            python_model=str(package / "serving.py"),
            artifacts={MODEL: str(folder)},
            code_paths=[str(package)],
            signature=ModelSignature(outputs=answer),
            metadata={"request": {name: kind if required else f"{kind}, optional" for name, kind, required in REQUEST}},
            input_example=pd.DataFrame({"seconds": [1.0], "temperature": [0.95], "seed": [0]}),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_id=logged.model_id,
                model_uuid=logged.model_id,
            ),
        )
        client.log_model_artifacts(logged.model_id, f"{temporary}/{MODEL}")
    outputs = run.outputs.model_outputs if run.outputs else []
    if logged.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, "READY")
