"""`audiornn ui` serves the store of the workspace, on loopback alone."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.helpers.servers import fetch

pytestmark = pytest.mark.pipeline


def test_the_address_is_printed_once_it_answers_and_requests_are_not_logged(runs_page, tmp_path_factory):
    fetch(runs_page.split("#")[0])
    (log,) = tmp_path_factory.getbasetemp().glob("ui[0-9]*/log.txt")
    assert log.read_text().endswith(f"\nMLflow UI: {runs_page}\nStop it with Ctrl-C.\n"), "requests come after"


def test_the_ui_shows_the_run_and_plays_its_audio(finished, ui):
    workspace, _ = finished
    assert b"MLflow" in fetch(ui)
    api = f"{ui}/api/2.0/mlflow"
    experiment = json.loads(fetch(f"{api}/experiments/get-by-name?experiment_name=audiornn"))["experiment"]
    query = json.dumps({"experiment_ids": [experiment["experiment_id"]]}).encode()
    runs = json.loads(fetch(f"{api}/runs/search", query))["runs"]
    run_id = json.loads((workspace.root / "models/mlflow.json").read_text())["run_id"]
    assert run_id in {run["info"]["run_id"] for run in runs}
    wav = fetch(f"{ui}/get-artifact?path=generated/01-temperature-1.wav&run_uuid={run_id}")
    assert wav == (workspace.root / "generated/01-temperature-1.wav").read_bytes()
    with socket.socket() as other:  # nobody else on the network gets in
        other.settimeout(2)
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            assert other.connect_ex((address, urlsplit(ui).port)) != 0
