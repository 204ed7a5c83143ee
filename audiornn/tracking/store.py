"""The MLflow store: where it is, whether it is there, its creation, its experiment and its page of runs."""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from audiornn.common.errors import AudioRNNError
from audiornn.common.files import atomic_file, locked
from audiornn.common.waits import announced, importing

if TYPE_CHECKING:
    from mlflow import MlflowClient

P = ParamSpec("P")
T = TypeVar("T")

EXPERIMENT = "audiornn"
REMOTE = {"databricks", "databricks-uc", "uc"}  # names of stores that are not paths
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
SQLITE = "sqlite:///"
PROBE_SECONDS = 5  # for a server to answer when a command begins, unless MLFLOW_HTTP_REQUEST_TIMEOUT is set
BUSY_SECONDS = 60.0  # for other writers of a SQLite store to finish
PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*(?=@)|([?&;](?:password|passwd|pwd|sslpassword|token)=)[^&;\s'\"]*", re.I)
# How long MLflow waits for a server, unless its own variables are set: seconds, retries, seconds between them.
WAITING = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "PGCONNECT_TIMEOUT": str(PROBE_SECONDS),
}
# View of the runs in the UI: best first, with the columns that distinguish them.
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

CHAMPION_METRIC = "validation.bits_per_sample"
# further numbers by which models are compared
RATIO_METRIC, FLAWED_METRIC = "generate.distance_ratio", "generate.clips_with_findings"
STANDING_METRICS = (CHAMPION_METRIC, RATIO_METRIC, FLAWED_METRIC)  # by which models are compared


class StoreError(AudioRNNError):
    """The store is not available."""


def store(workspace: str | Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI or, without it, a SQLite database in the workspace.

    Relative paths are relative to the workspace, not to the current folder, as DVC runs queued experiments in temporary
    copies. It may hold a password: `label` is for people to see.
    """
    root = Path(workspace).resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATABASE}"
    if uri.startswith(SQLITE):
        return SQLITE + str(root / uri.removeprefix(SQLITE))  # an absolute path stays as it is
    return uri if "://" in uri or uri.split(":")[0] in REMOTE else str(root / uri)


def masked(text: object) -> str:
    """A text with `***` for each password in its URIs."""
    return PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", str(text))


def label(workspace: str | Path) -> str:
    """The tracking URI without password, relative to the workspace: the same wherever the workspace is."""
    return masked(store(workspace)).replace(f"{Path(workspace).resolve()}/", "")


def reason(error: BaseException) -> str:
    """The first line of an error, without passwords; of a long one about a connection what matters."""
    text = str(error)
    cause = re.search(r"\[Errno -?\d+\] [\w ]+|timed out|too many \d+ error responses", text)
    if "ConnectionPool" in text and cause:
        return cause[0]
    return masked(text).partition("\n")[0] or type(error).__name__


def direct(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that needs the store's answer: its errors are one line, and a busy SQLite store is awaited.

    What it does must be repeatable.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if not type(error).__module__.startswith(("mlflow.", "requests.", "sqlalchemy.")):
                    raise
                if "database is locked" not in str(error) or time.monotonic() > deadline:
                    uri = masked(os.environ.get("MLFLOW_TRACKING_URI"))
                    raise StoreError(f"tracking store {uri}: {reason(error)}") from None
                time.sleep(0.1)

    return wrapper


def client_of(workspace: str | Path, probe: bool = True) -> "MlflowClient":
    """A client of the store, which is created if it is the default one or another SQLite database.

    Parameters
    ----------
    workspace
        Folder of the default store.
    probe
        Whether to make sure that a server is there.

    Raises
    ------
    StoreError
        If it is not there within seconds.
    AudioRNNError
        If the file is not a SQLite database.
    """
    for name in ("alembic", "urllib3.connectionpool"):  # creation of each table, retries of each request
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of what is tried again
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
    with importing("MLflow"):
        import mlflow

    uri = store(workspace)
    mlflow.set_tracking_uri(uri)
    with announced("opening the MLflow store"):  # a new one gets its tables
        if uri.startswith(SQLITE):
            _create(Path(uri.removeprefix(SQLITE)))
        elif probe:
            _probe(uri)
        return mlflow.MlflowClient(uri)


def _probe(uri: str) -> None:
    """Make sure that a server is there; MLflow itself would try for minutes."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    seconds = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    if seconds == WAITING["MLFLOW_HTTP_REQUEST_TIMEOUT"]:  # ours
        seconds = str(PROBE_SECONDS)
    try:
        if uri.startswith(("http:", "https:")):
            with _environment(MLFLOW_HTTP_REQUEST_TIMEOUT=seconds, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):
                try:
                    MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
                except MlflowException as error:
                    if "Connection aborted" not in str(error):
                        raise
                    # The server closed a connection of an earlier request while it was being used again.
                    MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
        elif re.match(r"(postgresql|mysql|mssql)\b", uri):
            create_engine(uri).connect().close()
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        raise StoreError(
            f"tracking server {masked(uri)} (MLFLOW_TRACKING_URI): not available: {reason(error)}"
        ) from None


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables during the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _create(path: Path) -> None:
    """Create a SQLite store, complete or not at all, by one process at a time.

    MLflow itself creates one table after the other in the file of that name: killed meanwhile, it leaves one that it
    cannot use, and two processes at once disturb each other.
    """
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if _is_complete(path):
        return
    with locked(path.with_name(f"{path.name}.lock")):
        if _is_complete(path):
            return
        for partial in path.parent.glob(f".{path.stem}.*.partial{path.suffix}*"):  # of a process that was killed
            partial.unlink()
        with atomic_file(path) as partial:
            SqlAlchemyStore(f"{SQLITE}{partial}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()


def _is_complete(path: Path) -> bool:
    """Whether a SQLite store has all tables of this version of MLflow, or runs, which are not to be replaced."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database:
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            version = "alembic_version" in tables and database.execute("select * from alembic_version").fetchone()
            held = "runs" in tables and database.execute("select 1 from runs").fetchone()
    except sqlite3.Error as error:
        raise AudioRNNError(f"{path}: not readable as a SQLite database: {error}") from None
    return bool(held) or version == (_get_latest_schema_revision(),)


@direct
def experiment_id(client: "MlflowClient", workspace: str | Path) -> str:
    """The id of the experiment, which is created or restored if necessary, by any number of processes at once."""
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    # A server decides where its artifacts go; for a local database MLflow would use the current folder.
    local = store(workspace).startswith("sqlite:")
    location = (Path(workspace).resolve() / ARTIFACTS).as_uri() if local else None
    for attempt in range(3):
        found = client.get_experiment_by_name(name)
        try:
            if found is None:
                return client.create_experiment(name, artifact_location=location)
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return found.experiment_id
        except MlflowException:  # another process may have created or restored it meanwhile
            if attempt == 2:
                raise
    raise AssertionError


@direct
def runs_page(workspace: str | Path) -> str:
    """Path of the UI's page of runs, best first.

    By default MLflow opens a page for language models; this one would take two clicks and a choice of columns.
    """
    client = client_of(workspace)
    experiment = experiment_id(client, workspace)
    client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{EXPERIMENT}", json.dumps(VIEW))
    return f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={EXPERIMENT}"
