"""`audiornn ui` serves the store of the workspace, on loopback alone."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.pipeline


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, data=None):
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def test_the_ui_shows_the_run_and_plays_its_audio(finished):
    workspace, _ = finished
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "audiornn.cli", "ui", "--port", str(port)]
    with subprocess.Popen(command, cwd=workspace.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as ui:
        try:
            base, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
            while True:
                try:
                    assert fetch(f"{base}/health") == b"OK"
                    break
                except urllib.error.URLError:
                    assert ui.poll() is None and time.monotonic() < deadline, "the server did not come up"
                    time.sleep(0.5)
            assert b"MLflow" in fetch(base)
            api = f"{base}/api/2.0/mlflow"
            experiment = json.loads(fetch(f"{api}/experiments/get-by-name?experiment_name=audiornn"))["experiment"]
            query = json.dumps({"experiment_ids": [experiment["experiment_id"]]}).encode()
            runs = json.loads(fetch(f"{api}/runs/search", query))["runs"]
            run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
            assert run_id in {run["info"]["run_id"] for run in runs}
            wav = fetch(f"{base}/get-artifact?path=generated/01-temperature-1.wav&run_uuid={run_id}")
            assert wav == (workspace.root / "generated/01-temperature-1.wav").read_bytes()
            with socket.socket() as other:  # nobody else on the network gets in
                other.settimeout(2)
                address = socket.gethostbyname(socket.gethostname())
                if not address.startswith("127."):
                    assert other.connect_ex((address, port)) != 0
        finally:
            ui.terminate()
            ui.wait(30)
