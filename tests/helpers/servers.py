"""Servers for tests: on a free port of loopback, ready when handed over, gone afterwards."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, data=None):
    """The body of a page; `data` is sent as JSON."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


@contextmanager
def serving(log, command, port, page="health", **options):
    """Run a server while the block runs; gives its address. It is up when it answers for `page`, by default that of
    MLflow's servers. What it says goes to the file `log`."""
    base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 240
    with open(log, "wb") as said, subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, **options) as server:
        try:
            while True:
                try:
                    fetch(f"{base}/{page}")
                    break
                except OSError:
                    up = server.poll() is None and time.monotonic() < deadline
                    assert up, f"the server did not come up:\n{log.read_text(errors='replace')}"
                    time.sleep(0.3)
            yield base
        finally:
            server.terminate()
            server.wait(30)


class TrackingServer:
    """An MLflow server that can be paused, killed and started again on the same port and database."""

    def __init__(self, folder, database, environment):
        self.folder, self.database, self.port = folder, database, free_port()
        self.environment = environment | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        self.address, self.process = f"http://127.0.0.1:{self.port}", None

    def start(self, workers=1):
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(workers)]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + 240
        while True:
            try:
                return fetch(f"{self.address}/health")
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "the server did not come up"
                time.sleep(0.2)

    def send(self, number):
        """Send a signal to all processes of the server."""
        os.killpg(self.process.pid, number)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()
