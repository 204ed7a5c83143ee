"""MLflow's UI for the store of a folder."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from audiornn.common.errors import AudioRNNError
from audiornn.common.waits import announced
from audiornn.tracking.store import runs_page, store


def serve(workspace: str | Path, host: str, port: int) -> int:
    """Run MLflow's server on the local store until it is interrupted; print its address as soon as it answers.

    For a tracking server, which runs already, its page is printed.

    Returns
    -------
    The exit code.

    Raises
    ------
    AudioRNNError
        If the port is taken, or the server ends before it answers.
    """
    uri, page = store(workspace), runs_page(workspace)
    if uri.startswith("http"):
        scheme, _, rest = uri.partition("://")  # a browser asks for name and password itself
        print(f"MLflow UI: {scheme}://{rest.rpartition('@')[2].rstrip('/')}{page}")
        return 0
    _check_free(host, port)
    quiet = "--log-level warning --no-access-log"
    command = ["mlflow", "ui", "--host", host, "--port", str(port), "--uvicorn-opts", quiet]
    # it would start eight processes for language models
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_LOGGING_LEVEL": "WARNING"} | os.environ
    environment["MLFLOW_BACKEND_STORE_URI"] = uri  # other users see arguments, and it may hold a password
    with subprocess.Popen([sys.executable, "-m", *command], env=environment) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            with announced("starting MLflow's server"):
                _await_answer(server, host, port)
            print(f"MLflow UI: http://{host}:{port}{page}\nStop it with Ctrl-C.", flush=True)
            return server.wait()
        except KeyboardInterrupt:  # the server has it, too
            server.wait()
            return 130


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AudioRNNError(f"{host}:{port}: {error.strerror}: choose another --port") from None


def _await_answer(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    """Wait until the server answers."""
    reachable = {"0.0.0.0": "127.0.0.1"}.get(host, host)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            with direct.open(f"http://{reachable}:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AudioRNNError(f"MLflow's server ended with exit code {server.returncode}; its messages are above")
