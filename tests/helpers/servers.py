"""Servers for tests: on a free port of loopback, ready when handed over, gone afterwards."""

import socket
import subprocess
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
