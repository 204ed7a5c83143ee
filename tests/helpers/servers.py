"""Servers for tests: on a free port of loopback, ready when handed over, gone afterwards."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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


class FailingProxy:
    """An HTTP proxy of a server on this machine that can be told to fail; gone at the end of the block.

    Attributes
    ----------
    mode
        "pass": requests and answers are passed on. "refuse": all requests are answered with status 500. "lose": they
        are passed on, and then answered with status 500 whatever the server said.
    failed
        Number of requests that were answered so.
    """

    def __init__(self, port):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                mode = proxy.mode
                if mode != "refuse":
                    answer, content = proxy.ask(self.command, self.path, body, dict(self.headers))
                if mode != "pass":
                    proxy.failed += 1
                    self.send_error(500)
                    return
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.forward)
        self.mode, self.failed, self._port = "pass", 0, port
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def ask(self, method, path, body, headers):
        """What the server answers, and the content of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()
