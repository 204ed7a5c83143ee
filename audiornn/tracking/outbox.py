"""The outbox of a run: what it logs waits on disk until the store has taken it, in order.

A training therefore neither stops nor waits when the tracking server is gone, hangs or fails. Entries are folders below
`.audiornn/outbox/RUN` in the workspace, in the order of their names: `entry.json`, and copies of files in `files`. A
thread delivers them; those that a process leaves behind are delivered by the next stage, or by `audiornn sync`.
"""

import fcntl
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from audiornn.tracking.store import label, reason

FOLDER, ENTRY, FILES = Path(".audiornn/outbox"), "entry.json", "files"
FIRST_DELAY, LAST_DELAY = 0.1, 10.0  # seconds until a failed delivery is tried again; doubles each time
PATIENCE = 30.0  # seconds without a delivery, and one more per MB, after which a stage ends nevertheless
JOIN_SECONDS = 10.0  # to wait for the end of a thread that has delivered everything
TELL_AFTER = 5.0  # seconds of failures after which a warning is printed

Deliver = Callable[[str, dict[str, Any], Path | None], str | None]


class RefusedError(Exception):
    """The store will never take an entry."""


class Outbox:
    """Outbox of one run.

    Parameters
    ----------
    workspace
        Folder that holds the outboxes.
    run_id
        The run.
    deliver
        Gives the store an entry: its kind, its content, and its file or folder if it has one; returns what to tell
        people. It may be called again with an entry that the store already has.
    """

    def __init__(self, workspace: str | Path, run_id: str, deliver: Deliver) -> None:
        self.folder = Path(workspace) / FOLDER / run_id
        self.store = label(workspace)
        self.error: Exception | None = None  # why the last delivery failed
        self._run_id, self._deliver = run_id, deliver
        self._number = 0
        self._added, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._progress = time.monotonic()
        self._megabytes = 0.0  # of the entry under way
        self._adding = threading.Lock()

    @property
    def waiting(self) -> list[Path]:
        """Entries that were not delivered, in order."""
        return sorted(self.folder.glob("[0-9]*")) if self.folder.exists() else []

    def destination(self, entry: Path) -> str:
        """The store that an entry is meant for, without password."""
        return json.loads((entry / ENTRY).read_text(encoding="utf-8"))["store"]

    def add(self, kind: str, content: Mapping[str, Any], files: str | Path | None = None) -> None:
        """Keep an entry for delivery, with a copy of a file or folder; returns at once."""
        with self._adding:  # the use of the machine is logged by a thread of its own
            if not self._number and self.waiting:  # of an earlier process
                self._number = int(self.waiting[-1].name)
            self._number += 1
            partial = self.folder / f".{os.getpid()}-{self._number}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process with the same number, as in containers
            partial.mkdir(parents=True)
            if files is not None:
                copy = partial / FILES / Path(files).name
                copy.parent.mkdir()
                (shutil.copytree if Path(files).is_dir() else shutil.copy2)(files, copy)
            entry = {"store": self.store, "run": self._run_id, "kind": kind, "content": dict(content)}
            (partial / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
            while (path := self.folder / f"{self._number:09d}").exists():  # another process was faster
                self._number += 1
            partial.rename(path)
            self._added.set()
            if self._thread is None or self._closed.is_set():
                self._closed.clear()
                self._thread = threading.Thread(target=self._work, daemon=True, name="tracking")
                self._thread.start()

    def close(self) -> None:
        """Wait until everything is delivered, as long as the store takes entries; say what waits for it then."""
        self._progress = time.monotonic()
        while waiting := self.waiting:
            if self._thread is None or time.monotonic() - self._progress > PATIENCE + self._megabytes:
                self._warn(
                    f"{len(waiting)} entries wait in {self.folder} for {self.store}"
                    f"{f': {reason(self.error)}' if self.error else ''}; deliver them by: audiornn sync"
                )
                break
            time.sleep(0.02)
        self._closed.set()
        self._added.set()
        if self._thread and not waiting:
            self._thread.join(JOIN_SECONDS)  # it may still be removing the last entry
        self.remove()

    def remove(self) -> None:
        """Remove the folder, if nothing waits in it."""
        for partial in self.folder.glob(".*.partial"):  # of a process that was killed
            if not psutil.pid_exists(int(partial.name[1:].partition("-")[0])):
                shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()

    def deliver(self) -> bool:
        """Deliver what waits, in order, until a delivery fails; whether all was delivered.

        Only one process at a time delivers.
        """
        with self._locked() as alone:
            while alone and (waiting := self.waiting):
                for path in waiting:
                    try:
                        self._take(path)
                    except RefusedError as error:
                        self._warn(f"not logged to run {self._run_id}: {reason(error)}")
                    except Exception as error:  # of MLflow, the network, the database: training continues
                        self.error = error
                        return False
                    removed = path.with_name(f".{os.getpid()}-{path.name}.removed.partial")
                    shutil.rmtree(removed, ignore_errors=True)
                    path.rename(removed)
                    shutil.rmtree(removed, ignore_errors=True)
                    self._progress, self.error = time.monotonic(), None
        return alone

    def _take(self, path: Path) -> None:
        self._megabytes = sum(file.stat().st_size for file in path.rglob("*")) / 1e6
        entry = json.loads((path / ENTRY).read_text(encoding="utf-8"))
        files = next((path / FILES).iterdir()) if (path / FILES).exists() else None
        if told := self._deliver(entry["kind"], entry["content"], files):
            tqdm.write(told)

    def _work(self) -> None:
        """Deliver entries as they come, until the outbox is closed."""
        while not self._closed.is_set():
            self._added.wait()
            self._added.clear()
            delay, begin, told = FIRST_DELAY, time.monotonic(), False
            while not self.deliver():
                if self.error and not told and time.monotonic() - begin > TELL_AFTER:
                    told = True
                    self._warn(f"{self.store}: {reason(self.error)}; what is logged waits until it is back")
                if self._closed.wait(delay):
                    return
                delay = min(2 * delay, LAST_DELAY)
            if told:
                tqdm.write(f"{self.store}: back, everything is delivered", file=sys.stderr)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Lock the folder, if it is there and no other process has; yields whether this one may deliver."""
        try:
            folder = os.open(self.folder, os.O_RDONLY)
        except FileNotFoundError:
            yield True
            return
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(folder)

    def _warn(self, text: str) -> None:
        tqdm.write(f"warning: tracking: {text}", file=sys.stderr)
