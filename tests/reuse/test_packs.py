"""What preparation promises: every recording costs its own work, once, and the bytes are those of a fresh start."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import soundfile

from audiornn.audio import packs
from audiornn.common import parallel
from audiornn.common.errors import AudioRNNError
from audiornn.reuse import index
from stages import encode, recordings, resample
from tests.helpers.preparation import FILES, ROOT, Preparation, outputs, record


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


def test_removing_outputs_before_a_stage_as_dvc_does_changes_nothing(workspace):
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


def test_work_finished_before_an_interruption_is_not_repeated(workspace, monkeypatch):
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


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_number_of_processes(workspace, tmp_path, monkeypatch):
    _, alone = from_nothing(workspace, tmp_path)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    assert workspace.prepare(processes=True)[1] == alone


def test_a_recording_that_changes_during_preparation_is_named(workspace):
    workspace.prepare()
    record(workspace.root / "recordings/new.wav", 100)
    workspace.prepare(stages=[recordings])
    from stages import corpus

    workspace.prepare(stages=[corpus])
    record(workspace.root / "recordings/new.wav", 101)
    with pytest.raises(AudioRNNError, match=r"new\.wav: changed while the pipeline ran; run dvc repro again"):
        workspace.prepare(stages=[resample])


SCRIPT = """
import time
from audiornn.common import parallel
from stages import resample
from stages.common import run
parallel.cores = lambda: 2
resample.PAYS_FROM = 0
if __name__ == "__main__":
    run(resample.main)
"""


@pytest.mark.parametrize("fault", ["worker killed", "Ctrl-C", "killed"])
@pytest.mark.slow
def test_a_stage_that_ends_early_says_so_in_one_line_and_leaves_nothing_half_written(fault, workspace):
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
