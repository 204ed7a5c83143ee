"""What preparation promises: every recording costs its own work, once, and the bytes are those of a fresh start."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import soundfile

from audiornn import parallel
from audiornn.audio import packs
from audiornn.errors import AudioRNNError
from audiornn.prepared import index
from stages import encode, recordings, resample
from tests.helpers.preparation import ROOT, Preparation, outputs, record

FILES = 6


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    made = Preparation(tmp_path / "workspace", monkeypatch)
    for i in range(FILES):
        record(made.root / f"recordings/{i}.wav", i)
    return made


def from_nothing(workspace, tmp_path):
    """What the stages make of the same recordings in a new workspace."""
    fresh = Preparation(tmp_path / "fresh", workspace.monkeypatch)
    (fresh.root / "recordings").symlink_to(workspace.root / "recordings")
    done, made = fresh.prepare()
    workspace.enter()
    return done, made


def add(folder):
    record(folder / "deep/new.wav", 100)
    return [1, 1, 1]


def change(folder):
    record(folder / "2.wav", 101)
    return [1, 1, 1]


def rename(folder):
    (folder / "2.wav").rename(folder / "zzz.wav")
    return [0, 0, 0]


def remove(folder):
    (folder / "2.wav").unlink()
    return [0, 0, 0]


def same_sound(folder):
    """Other bytes of the same samples: the codes are known."""
    samples, rate = soundfile.read(folder / "2.wav", dtype="int16")
    soundfile.write(folder / "again.flac", samples, rate)
    return [1, 1, 0]


def nothing(folder):
    return [0, 0, 0]


@pytest.mark.parametrize("happens", [add, change, rename, remove, same_sound, nothing])
def test_a_recording_costs_its_own_work_and_the_bytes_are_those_of_a_fresh_start(happens, workspace, tmp_path):
    assert workspace.prepare()[0] == [FILES, FILES, FILES]
    cost = happens(workspace.root / "recordings")
    assert workspace.prepare()[0] == cost
    made = outputs(workspace.root)
    assert from_nothing(workspace, tmp_path)[1] == made
    assert workspace.prepare() == ([0, 0, 0], made)


def test_it_is_the_same_when_outputs_are_removed_before_a_stage_as_dvc_does(workspace):
    _, made = workspace.prepare()
    record(workspace.root / "recordings/new.wav", 100)
    workspace.prepare(stages=[recordings])
    for output in (resample.OUTPUT, encode.OUTPUT):
        for file in output.iterdir():
            file.unlink()
        output.rmdir()
    assert workspace.prepare()[0] == [1, 1, 1]
    (workspace.root / "recordings/new.wav").unlink()
    assert workspace.prepare() == ([0, 0, 0], made)


def test_after_a_stage_only_its_index_is_left(workspace):
    workspace.prepare()
    left = {path.name for path in (workspace.root / index.FOLDER).iterdir()}
    assert left == {"corpus.json", "resample.json", "resample-files.json", "encode.json", "encode-files.json"}
    assert not list(workspace.root.rglob("*.partial*"))


def test_an_index_stays_bounded(workspace):
    for i in range(2 * index.OTHERS + 2):
        for file in (workspace.root / "recordings").iterdir():
            file.unlink()
        record(workspace.root / "recordings/a.wav", i)
        record(workspace.root / "recordings/b.wav", 100 + i)
        workspace.prepare()
    kept = index.Index(index.FOLDER / "resample.json", packs.ResampledSamples, packs.CODE)
    assert len(kept._known) == 2 * (1 + index.OTHERS)


def test_other_settings_code_or_libraries_make_everything_again(workspace, monkeypatch):
    _, made = workspace.prepare()
    path = workspace.root / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("highpass_hz: 20", "highpass_hz: 0"))
    assert workspace.prepare()[0] == [0, FILES, FILES]
    path.write_text(text.replace("preemphasis: 0.95", "preemphasis: 0.5"))
    assert workspace.prepare()[0] == [0, FILES, FILES]
    path.write_text(text)
    monkeypatch.setattr(index, "identity", lambda code: "other")
    assert workspace.prepare() == ([FILES, FILES, FILES], made)


@pytest.mark.parametrize("stage", ["resample", "encode"])
def test_a_damaged_pack_is_made_again(stage, workspace):
    _, made = workspace.prepare()
    pack = next(path for path in (workspace.root / "data" / stage).iterdir() if path.suffix in (".wav", ".npy"))
    content = bytearray(pack.read_bytes())
    content[-100] ^= 1
    pack.write_bytes(content)
    done, again = workspace.prepare()
    assert again == made
    assert sum(done) == 1


@pytest.mark.parametrize("name", ["corpus.json", "resample.json", "encode.json", "encode-files.json"])
def test_a_damaged_index_costs_work_and_no_more(name, workspace):
    _, made = workspace.prepare()
    (workspace.root / index.FOLDER / name).write_text('{"a": [1, 2')
    assert workspace.prepare()[1] == made


def test_what_was_finished_before_an_interruption_is_not_made_again(workspace, monkeypatch):
    workspace.enter()
    resample_file, calls = packs.resample_file, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return resample_file(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(packs, "resample_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workspace.prepare()
    assert not (workspace.root / "data/resample").exists()
    workspace.prepare(stages=[recordings])
    done, made = workspace.prepare()
    assert done[0] == 0
    assert done[1] < FILES
    assert not (workspace.root / index.FOLDER / "resample").exists()
    workspace.monkeypatch.chdir("/")
    assert made == outputs(workspace.root)


def test_the_bytes_do_not_depend_on_the_number_of_processes(workspace, tmp_path, monkeypatch):
    _, alone = from_nothing(workspace, tmp_path)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    assert workspace.prepare(processes=True)[1] == alone


def test_a_recording_that_changes_under_way_is_named(workspace):
    workspace.prepare()
    record(workspace.root / "recordings/new.wav", 100)
    workspace.prepare(stages=[recordings])
    from stages import corpus

    workspace.prepare(stages=[corpus])
    record(workspace.root / "recordings/new.wav", 101)
    with pytest.raises(AudioRNNError, match=r"new\.wav: changed while the pipeline ran; run dvc repro again"):
        workspace.prepare(stages=[resample])


def test_a_worker_with_other_code_is_refused():
    with pytest.raises(AudioRNNError, match="has other code or other libraries than this machine"):
        index._if_same_code(len, packs.CODE, "another", "job")


SCRIPT = """
import time
from audiornn import parallel
from stages import resample
from stages.common import run
parallel.cores = lambda: 2
resample.PAYS_FROM = 0
if __name__ == "__main__":
    run(resample.main)
"""


@pytest.mark.parametrize("fault", ["worker killed", "Ctrl-C", "killed"])
def test_a_stage_that_ends_early_says_so_in_a_line_and_leaves_nothing_half_written(fault, workspace):
    for i in range(FILES, 4 * FILES):
        record(workspace.root / f"recordings/{i}.wav", i, 20)
    from stages import corpus

    workspace.prepare(stages=[recordings, corpus])
    script = workspace.root / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    process = subprocess.Popen(
        command, cwd=workspace.root, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    done = workspace.root / index.FOLDER / "resample/done"
    while not list(done.glob("*.json")):  # the first packs are finished
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    match fault:
        case "worker killed":
            workers[0].kill()
        case "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        case "killed":
            process.kill()
    _, told = process.communicate(timeout=60)
    code, said = {
        "worker killed": (2, "error: resample: a worker was killed, "),
        "Ctrl-C": (130, "interrupted"),
        "killed": (-9, ""),
    }[fault]
    assert process.returncode == code
    if fault != "killed":  # then Python's own resource tracker says a word
        assert told.startswith(said) and len(told.splitlines()) == 1, told
    psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in workers if worker.is_running()]
    assert not (workspace.root / "data/resample").exists()
    finished = len(list(done.glob("*.json")))
    cost, _ = workspace.prepare()
    assert cost[1] <= 4 * FILES - finished
    assert not list(workspace.root.rglob("*.partial*"))
