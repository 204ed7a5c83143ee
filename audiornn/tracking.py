"""MLflow: one pipeline run is one MLflow run. With serving.py, which MLflow itself runs, all that imports mlflow."""

import hashlib
import json
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from audiornn.errors import AudioRNNError
from audiornn.files import read_json, write_json
from audiornn.ranking import Standing, replaces

RUN_FILE = "mlflow.json"  # beside the weights: which run they come from
EXPERIMENT = "audiornn"
REMOTE = {"databricks", "databricks-uc", "uc"}  # names of stores that are no paths
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
# How the UI shows the runs: the best on top, with what tells them apart.
BEST = "metrics.`validation.bits_per_sample`"
VIEW = {
    "selectedColumns": [
        "attributes.`Duration`",
        "params.`train.model.name`",
        "params.`shard.context`",
        BEST,
        "metrics.`test.bits_per_sample`",
        "metrics.`test.accuracy`",
        "metrics.`generate.distance_ratio`",
        "metrics.`generate.clips_with_findings`",
        "metrics.`generate.samples_per_second`",
    ],
    "orderByKey": BEST,
    "orderByAsc": True,
}
PARENT = "AUDIORNN_PARENT_RUN"  # environment variable: the run of the sweep that a pipeline run belongs to
PARENT_TAG = "mlflow.parentRunId"
LOCK, UPSTREAM = Path("dvc.lock"), ("corpus", "resample", "encode", "shard")  # stages before the training
MODEL = "model"  # name of a run's logged model, and of the artifact in it that holds our folder
REGISTERED, CHAMPION = "audiornn", "champion"  # registered model, and the alias of its best version
COMPARED = "validation.bits_per_sample"
RATIO, FLAWED = "generate.distance_ratio", "generate.clips_with_findings"  # what models are compared by besides
VALIDATION = "data.validation"  # tag: digest of the validation part
# What a logged model needs to be served elsewhere; audiornn itself is logged with it.
REQUIREMENTS = (
    *("mlflow", "numba", "numpy", "pandas", "pydantic", "pyyaml", "scipy"),
    *("soundfile", "soxr", "tensorflow", "tqdm"),
)
# Columns of a request to a served model, and of its answer: name, type, whether it must be there.
REQUEST = (
    ("seconds", "double", True),
    ("temperature", "double", False),
    ("top_k", "long", False),
    ("top_p", "double", False),
    ("certain", "double", False),
    ("seed", "long", False),
    ("prompt", "string", False),  # a recording of any format, in base64
    ("prompt_offset", "double", False),
    ("prompt_seconds", "double", False),
)
ANSWER = (("sample_rate", "long", True), ("seconds", "double", True), ("audio", "string", True))  # a wav in base64


def store(workspace: str | Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI or, without it, a SQLite database in the workspace.

    Relative paths of `sqlite:///` and plain paths are taken from the workspace, not from the current folder: DVC runs
    queued experiments in temporary copies.
    """
    root = Path(workspace).resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"
    prefix = "sqlite:///"
    if uri.startswith(prefix):
        return prefix + str(root / uri.removeprefix(prefix))  # an absolute path stays as it is
    return uri if "://" in uri or uri.split(":")[0] in REMOTE else str(root / uri)


def _client(workspace: str | Path) -> Any:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it reports the creation of every table
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    uri = store(workspace)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


def _experiment(client: Any, workspace: str | Path) -> str:
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        # Only a server knows where its artifacts belong; beside a local database MLflow would take the current folder.
        local = store(workspace).startswith("sqlite:")
        place = (Path(workspace).resolve() / ARTIFACTS).as_uri() if local else None
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException:  # another process was faster
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def runs_page(workspace: str | Path) -> str:
    """The UI's page of the runs, best on top, as a path after the server's address.

    MLflow opens an experiment on a page for language models; this one is two clicks and a choice of columns away.
    """
    client = _client(workspace)
    experiment = _experiment(client, workspace)
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{EXPERIMENT}", json.dumps(VIEW))
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={EXPERIMENT}"


class Log:
    """Writes into one MLflow run."""

    def __init__(self, client: Any, run_id: str, resumed: bool = False) -> None:
        self._client = client
        self.run_id = run_id
        self._resumed = resumed
        self._last_steps: dict[str, int] = {}

    def params(self, params: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names, as they stand in params.yaml."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)) for key, value in _flatten(params)]
        for start in range(0, len(flat), 100):  # MLflow's limit a call
            self._client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers; entries without a value are passed over."""
        self.curves({step: metrics})

    def curves(self, steps: Mapping[int, Mapping[str, float | None]], prefix: str = "") -> None:
        """Log numbers of several steps at once, under names that begin with `prefix`.

        A run that is gone on with already has the numbers up to where it was interrupted: they are not repeated.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [
            Metric(prefix + key, float(value), now, step)
            for step, metrics in steps.items()
            for key, value in metrics.items()
            if value is not None and not (self._resumed and step <= self._last_step(prefix + key))
        ]
        for start in range(0, len(batch), 1000):  # MLflow's limit a call
            self._client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def _last_step(self, key: str) -> int:
        """The last step of a metric that was there when the run was gone on with; -1 where it was not."""
        if key not in self._last_steps:
            points = self._client.get_metric_history(self.run_id, key)
            self._last_steps[key] = max((point.step for point in points), default=-1)
        return self._last_steps[key]

    def tags(self, tags: Mapping[str, Any]) -> None:
        for key, value in tags.items():
            self._client.set_tag(self.run_id, key, str(value))

    def artifact(self, path: str | Path, place: str) -> None:
        """Log a file, or all files of a folder, under the artifact folder `place`."""
        log = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
        log(self.run_id, str(path), place)

    def dataset(self, manifest: Mapping[str, Any]) -> None:
        """Log the shards that a run learns from as its input, by the digest of their manifest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        parts = {
            part: {key: described[key] for key in ("windows", "targets", "bytes")}
            for part, described in manifest["parts"].items()
        }
        data = Dataset(
            name="shards",
            digest=manifest["digest"][:32],  # MLflow keeps 36 characters; the tag data.digest has all 64
            source_type="dvc",
            source=json.dumps({"path": "data/shard", **_locked_shards()}),
            profile=json.dumps({"context": manifest["context"], "span": manifest["span"], **parts}),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def model(self, folder: str | Path) -> None:
        """Log a model's folder as the MLflow model of the run: code and weights, nothing pickled.

        `mlflow.pyfunc.load_model` and `mlflow models serve` take it; what they are sent and answer is in `serving.py`.
        """
        import mlflow
        import pandas as pd
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, Schema

        package = Path(__file__).parent
        request, answer = (
            Schema([ColSpec(kind, name, required=required) for name, kind, required in columns])
            for columns in (REQUEST, ANSWER)
        )
        run = self._client.get_run(self.run_id)
        logged = self._client.create_logged_model(
            run.info.experiment_id, name=MODEL, source_run_id=self.run_id, params=run.data.params, model_type="audio"
        )
        with TemporaryDirectory() as temporary:
            mlflow.pyfunc.save_model(
                f"{temporary}/{MODEL}",
                python_model=str(package / "serving.py"),
                artifacts={MODEL: str(folder)},
                code_paths=[str(package)],
                signature=ModelSignature(request, answer),
                input_example=pd.DataFrame({"seconds": [1.0], "temperature": [0.95], "seed": [0]}),
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    run_id=self.run_id,
                    model_id=logged.model_id,
                    model_uuid=logged.model_id,
                ),
            )
            self._client.log_model_artifacts(logged.model_id, f"{temporary}/{MODEL}")
        self._client.finalize_logged_model(logged.model_id, "READY")
        self._client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _code_version() -> dict[str, str]:
    """Tags: the commit, and whether tracked files differ from it; those that each pipeline run writes do not count."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(
        "status", "--porcelain", "-uno", "--", ".", *(f":!{path}" for path in ("params.yaml", LOCK, "metrics"))
    )
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changed)).lower()}


def command() -> str:
    """The command that started this process, as a person would type it: DVC's, or this program's own."""
    import psutil

    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        for i, word in enumerate(words[:3]):
            if Path(word).name == "dvc":
                arguments = words[i + 1 :]
                if arguments[:2] in (["exp", "exec-run"], ["exp", "queue-worker"]):
                    return "dvc queue start"
                return shlex.join(["dvc", *arguments])
    words = sys.orig_argv[1:] if sys.orig_argv[1:] and Path(sys.orig_argv[1]).name == "audiornn" else sys.orig_argv
    return shlex.join([Path(words[0]).name, *words[1:]])


def _locked() -> dict[str, Any]:
    """What dvc.lock says of the stages before the training, which have run when it begins."""
    try:
        stages = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
    except (OSError, TypeError, KeyError, yaml.YAMLError):  # a stage that is run by hand needs no DVC
        return {}
    return {stage: stages[stage] for stage in UPSTREAM if stage in stages}


def _locked_shards() -> dict[str, str]:
    """The hash by which DVC knows the shards."""
    outs = _locked().get("shard", {}).get("outs", [])
    return next(({"md5": out["md5"]} for out in outs if out["path"] == "data/shard"), {})


def _origin() -> dict[str, str]:
    """Tags that say where a run comes from: code, data, command, the sweep that it belongs to."""
    tags = {**_code_version(), "command": command(), "mlflow.user": os.environ.get("USER", "")}
    tags["mlflow.source.name"] = tags["command"]
    if locked := _locked():
        tags["dvc.lock.digest"] = _digest(locked)
    if parent := os.environ.get(PARENT):
        tags[PARENT_TAG] = parent
    return tags


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def validation_digest(manifest: Mapping[str, Any]) -> str:
    """A digest of the validation part: models that have it in common may be compared, whatever their context.

    Parameters
    ----------
    manifest
        Of the shards: the codec, and the ranges and counts of codes of the part.
    """
    part = manifest["parts"]["validation"]
    return _digest([manifest["codec"], part["ranges"], part["code_counts"]])


@contextmanager
def pipeline_run(
    workspace: str | Path,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    name: str,
    run_file: str | Path | None = None,
) -> Iterator[Log]:
    """Start the MLflow run of a pipeline run, or go on with it; it is marked failed if the block fails.

    Parameters
    ----------
    workspace
        Where the default store is.
    params
        All of params.yaml.
    tags
        More tags; the git commit is there by itself.
    name
        Of the run; a DVC experiment's own name comes before it.
    run_file
        A JSON file that keeps the run's id. Where it names a run already, that one is gone on with.
    """
    client = _client(workspace)
    run_id = read_json(run_file)["run_id"] if run_file and Path(run_file).exists() else None
    log = Log(client, run_id, resumed=True) if run_id and _reopened(client, run_id) else None
    if not log:
        log = Log(client, _begin(client, workspace, tags, name))
        log.params(params)
        if run_file:
            write_json(run_file, {"run_id": log.run_id})
    with _ending(log), _system_metrics(log, workspace, resumed=log._resumed):
        yield log


@contextmanager
def sweep_run(workspace: str | Path, name: str, description: str, identity: str) -> Iterator["Sweep"]:
    """Start the parent run of a sweep, or go on with it: the newest one of the same identity that was not deleted."""
    client = _client(workspace)
    experiment = _experiment(client, workspace)
    found = client.search_runs([experiment], f"tags.`sweep.identity` = '{identity}'", max_results=1)
    if found:
        log = Sweep(client, found[0].info.run_id)
        client.update_run(log.run_id, status="RUNNING")
    else:
        tags = {**_origin(), "sweep.identity": identity, "sweep": name, "mlflow.note.content": description}
        log = Sweep(client, client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    with _ending(log):
        yield log


class Sweep(Log):
    """Writes into the parent run of a sweep."""

    def child(self, run_id: str, name: str, params: Mapping[str, Any], metrics: Mapping[str, float | None]) -> str:
        """Make the run of a setting a child of the sweep; the child's id.

        A run that belongs to another sweep already, or that the store does not know, is taken from DVC's cache: its
        child is a new run with its parameters and results, which names it in the tag `taken_from_run`.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
            if run.info.lifecycle_stage == "active" and run.data.tags.get(PARENT_TAG) in (None, self.run_id):
                self._client.set_tag(run_id, PARENT_TAG, self.run_id)
                return run_id
        except MlflowException:
            pass
        experiment = self._client.get_run(self.run_id).info.experiment_id
        tags = {"taken_from_run": run_id, PARENT_TAG: self.run_id}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        if found := self._client.search_runs([experiment], query, max_results=1):
            return found[0].info.run_id
        copy = Log(self._client, self._client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        copy.params(params)
        copy.metrics(metrics)
        self._client.set_terminated(copy.run_id)
        return copy.run_id

    def table(self, rows: Sequence[Mapping[str, Any]], markdown: str, name: str) -> None:
        """Log rows as a table of MLflow's, as CSV and as Markdown, instead of what was there under that name."""
        import pandas as pd

        frame = pd.DataFrame(list(rows))
        self._client.log_text(self.run_id, frame.to_csv(index=False), f"{name}.csv")
        self._client.log_text(self.run_id, markdown, f"{name}.md")
        if f"{name}.json" in {
            item.path for item in self._client.list_artifacts(self.run_id)
        }:  # it would be appended to
            self._client.log_text(self.run_id, frame.to_json(orient="split", index=False), f"{name}.json")
        else:
            self._client.log_table(self.run_id, frame, f"{name}.json")

    def figure(self, figure: Any, name: str) -> None:
        """Log a matplotlib figure as a picture."""
        self._client.log_figure(self.run_id, figure, name, save_kwargs={"dpi": 120, "facecolor": "white"})


@contextmanager
def _ending(log: Log) -> Iterator[None]:
    """Say in the run how it ended."""
    try:
        yield
    except KeyboardInterrupt:
        log._client.set_terminated(log.run_id, "KILLED")
        raise
    except BaseException as error:
        log.tags({"error": error})
        log._client.set_terminated(log.run_id, "FAILED")
        raise
    log._client.set_terminated(log.run_id)


@contextmanager
def _system_metrics(log: Log, workspace: str | Path, resumed: bool) -> Iterator[None]:
    """Log the use of CPU, memory, disk, network and GPUs, every 10 s or as MLflow's own variables say."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(log.run_id, resume_logging=resumed, tracking_uri=store(workspace))
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _begin(client: Any, workspace: str | Path, tags: Mapping[str, str], name: str) -> str:
    """The id of a new run."""
    experiment = os.environ.get("DVC_EXP_NAME")
    tags = {**tags, **_origin(), **({"dvc.experiment": experiment} if experiment else {})}
    return client.create_run(_experiment(client, workspace), run_name=experiment or name, tags=tags).info.run_id


def _reopened(client: Any, run_id: str) -> bool:
    """Set a run going again, if it is still there."""
    from mlflow.exceptions import MlflowException

    try:
        if client.get_run(run_id).info.lifecycle_stage == "deleted":
            return False
        client.update_run(run_id, status="RUNNING")
    except MlflowException:
        return False
    return True


def reopen(workspace: str | Path, model_folder: str | Path) -> Log:
    """Write on into the run that the weights in `model_folder` come from.

    Where the store does not know that run (the model was trained elsewhere, or the store is new), a new run is begun
    that names the original in its tag `trained_in_run`.
    """
    from mlflow.exceptions import MlflowException

    client = _client(workspace)
    run_id = read_json(Path(model_folder) / RUN_FILE)["run_id"]
    try:
        client.get_run(run_id)
    except MlflowException:
        experiment = _experiment(client, workspace)
        found = client.search_runs([experiment], f"tags.trained_in_run = '{run_id}'", max_results=1)
        if not found:
            tags = {"trained_in_run": run_id, **_code_version()}
            found = [client.create_run(experiment, run_name="model from elsewhere", tags=tags)]
            Log(client, found[0].info.run_id).model(model_folder)
            client.set_terminated(found[0].info.run_id)
        run_id = found[0].info.run_id
    return Log(client, run_id)


def model_folder(workspace: str | Path, source: str) -> Path:
    """The folder with a logged model; fetched from the store where it is not a local folder.

    Parameters
    ----------
    workspace
        Where the default store is.
    source
        The id of a run, or a URI of MLflow's such as `models:/audiornn@champion` or `models:/audiornn/3`.

    Raises
    ------
    AudioRNNError
        If the store has no such run or model, the run logged none, or it is not one of this project.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    client = _client(workspace)
    uri = source.startswith("models:/")
    try:
        place = mlflow.artifacts.download_artifacts(source if uri else f"models:/{_logged_model(client, source)}")
        path = Model.load(place).flavors["python_function"]["artifacts"][MODEL]["path"]
    except (MlflowException, OSError, KeyError) as error:
        reason = str(error).splitlines()[0] if not isinstance(error, KeyError) else "not a model of audiornn"
        where = source if uri else f"run {source}"
        raise AudioRNNError(f"{where}: no model to be had from {store(workspace)}: {reason}") from None
    return Path(place) / path


def _logged_model(client: Any, run_id: str) -> str:
    """The id of the model that a run logged last."""
    outputs = client.get_run(run_id).outputs
    if not (outputs and outputs.model_outputs):
        raise OSError("the run has logged none")
    return outputs.model_outputs[-1].model_id


def champion(workspace: str | Path) -> Any | None:
    """The registered version that the alias `champion` stands for, if there is one."""
    from mlflow.exceptions import MlflowException

    try:
        return _client(workspace).get_model_version_by_alias(REGISTERED, CHAMPION)
    except MlflowException:
        return None


def promote(workspace: str | Path, run_id: str) -> str:
    """Register the model of a run, unless it is already, and make it the champion: `models:/audiornn@champion`.

    Returns
    -------
    The registered version.

    Raises
    ------
    AudioRNNError
        If the store has no such run, or the run has no model or was not evaluated.
    """
    from mlflow.exceptions import MlflowException

    client = _client(workspace)
    try:
        run = client.get_run(run_id)
        model_id = _logged_model(client, run_id)
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise AudioRNNError(f"run {run_id}: no model to be had from {store(workspace)}: {reason}") from None
    if COMPARED not in run.data.metrics:
        raise AudioRNNError(f"run {run_id}: has no metric {COMPARED}: only a model that was evaluated can be champion")
    if not client.search_registered_models(f"name = '{REGISTERED}'"):
        client.create_registered_model(REGISTERED)
    found = [v for v in client.search_model_versions(f"name = '{REGISTERED}'") if v.run_id == run_id]
    registered = (
        found[0]
        if found
        else client.create_model_version(REGISTERED, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    )
    _describe(client, registered, run)
    client.set_registered_model_alias(REGISTERED, CHAMPION, registered.version)
    return str(registered.version)


def _describe(client: Any, version: Any, run: Any) -> None:
    """Tag a registered version with what the next model is compared with."""
    tags = {key: str(run.data.metrics[key]) for key in (COMPARED, RATIO, FLAWED) if key in run.data.metrics}
    for key, value in {**tags, VALIDATION: run.data.tags.get(VALIDATION, "")}.items():
        client.set_model_version_tag(REGISTERED, version.version, key, value)


def _standing(numbers: Mapping[str, Any]) -> Standing:
    """What a model is compared by, from the metrics of a run or the tags of a version."""
    bits, ratio, flawed = (float(numbers[key]) if key in numbers else None for key in (COMPARED, RATIO, FLAWED))
    assert bits is not None
    return Standing(bits, ratio, flawed)


def challenge(workspace: str | Path, run_id: str, bits: float | None = None) -> str:
    """Make the model of a run the champion if it is better than the present one; a sentence that says what decided.

    Which is better `ranking.replaces` says, by bits per sample on the same validation part and by sound. Where there is
    no champion, the first is it. One that was validated on other recordings stays, until `promote` is called: the two
    cannot be compared. A champion from before sound was measured is one of unknown sound.

    Parameters
    ----------
    workspace
        Where the default store is.
    run_id
        The run, evaluated.
    bits
        What the model needs per sample on validation, for a run that does not know: its model is from elsewhere.
    """
    client = _client(workspace)
    run, holder = client.get_run(run_id), champion(workspace)
    if COMPARED not in run.data.metrics and bits is not None:
        Log(client, run_id).metrics({COMPARED: bits})
        run = client.get_run(run_id)
    if holder is None:
        return f"champion: version {promote(workspace, run_id)}, the first"
    if holder.run_id == run_id:
        _describe(client, holder, run)  # its sound may have been measured again
        return f"champion: still version {holder.version}, this model"
    if holder.tags.get(VALIDATION) != run.data.tags.get(VALIDATION):
        return (
            f"champion: still version {holder.version}, which was validated on other recordings; "
            f"to replace it: audiornn promote {run_id}"
        )
    ours, theirs = _standing(run.data.metrics), _standing(holder.tags)
    better, reason = replaces(ours, theirs)
    kept = f"version {promote(workspace, run_id)}, this model" if better else f"still version {holder.version}"
    return (
        f"champion: {kept}, by {reason}: this model has {ours.describe()}; "
        f"version {holder.version} has {theirs.describe()}"
    )
