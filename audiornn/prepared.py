"""What stages made of recordings before, so that only what is new is made.

Three stages keep an index here, `.audiornn/prepared/STAGE.json`: what each recording gave, by its SHA-256, by the
settings, and by the code and libraries at work. Audio and codes themselves are in the outputs of the stages, in packs:
a recording is in the pack that the first digits of its SHA-256 name, so that one more changes a single file. DVC
removes outputs before a stage runs: `keep` links them to `.audiornn/prepared/STAGE/output` before, where the stage
finds them. Packs of a stage that was interrupted wait in `.audiornn/prepared/STAGE/done`. After a stage only its index
is left.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from audiornn import parallel
from audiornn.errors import AudioRNNError
from audiornn.files import atomic_file, digest, read_json, write_json
from audiornn.validation import AnyText, FileName, Sha256, Size, parse

FOLDER = Path(".audiornn/prepared")
PACK_DIGITS = 2  # hexadecimal digits that name a pack: DVC needs half a millisecond per file of an output
LIBRARIES = ("av", "numpy", "scipy", "soundfile", "soxr")
OTHERS = 3  # entries of an index that the last run did not use, per one that it did
SAVE_SECONDS = 60.0  # between saves of an index during the work


class Made(Protocol):
    """What a stage made of a recording: the digest of its samples or codes, and how many there are."""

    @property
    def sha256(self) -> str:
        """Of its samples or codes."""

    @property
    def length(self) -> int:
        """How many there are."""


T = TypeVar("T")
M = TypeVar("M", bound=Made)
S = TypeVar("S")
R = TypeVar("R")


@cache
def identity(code: tuple[str, ...]) -> str:
    """Digest of modules and packages of this library, and of the versions of the libraries that they use."""
    import soundfile

    root = Path(__file__).parent
    files = sorted(
        file for name in code for file in ((root / name).rglob("*.py") if (root / name).is_dir() else [root / name])
    )
    sources = [[str(file.relative_to(root)), hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]
    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    return digest([sources, versions, soundfile.__libsndfile_version__])


def _with_same_code(function: Callable[[S], R], code: tuple[str, ...], expected: str, job: S) -> R:
    """Do a job if this process, which may be on another machine, has the same code and libraries."""
    if identity(code) != expected:
        raise AudioRNNError(
            f"a worker on {os.uname().nodename} has other code or other libraries than this machine, and could make "
            "other bytes: give all the same commit and Pipfile.lock"
        )
    return function(job)


class Index(Generic[T]):
    """What each recording gave a stage, by key.

    Parameters
    ----------
    path
        Its JSON file. One that is missing or damaged counts as empty.
    kind
        A dataclass, of the results.
    code
        Modules and packages of the library that determine results.
    """

    def __init__(self, path: Path, kind: type[T], code: tuple[str, ...]) -> None:
        self.path, self.code = path, code
        self._used: dict[str, T] = {}
        self._save_next = time.monotonic() + SAVE_SECONDS
        try:
            self._known: dict[str, T] = parse(dict[Sha256, kind], read_json(path), path)  # type: ignore[valid-type]
        except AudioRNNError:  # there is none yet
            self._known = {}
        self._saved = self._known.keys()

    def key(self, *parts: object) -> str:
        """The key of a recording: digest of what it is, of the settings, and of code and libraries."""
        return digest([identity(self.code), *parts])

    def get(self, key: str) -> T | None:
        """What a key gave, if it is known."""
        if key not in self._used and key in self._known:
            self._used[key] = self._known[key]
        return self._used.get(key)

    def add(self, key: str, result: T) -> None:
        """Remember what a key gave."""
        self._used[key] = result

    def save(self, complete: bool = True) -> None:
        """Write the index; where the work is complete, of what it did not use only a bounded number."""
        kept = self._known | self._used
        if complete:
            others = [key for key in self._known if key not in self._used][: OTHERS * len(self._used)]
            kept = self._used | {key: self._known[key] for key in others}
        if kept.keys() != self._saved:
            with atomic_file(self.path) as partial_file:
                content = {key: asdict(result) for key, result in kept.items()}  # type: ignore[call-overload]
                partial_file.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
            self._saved = kept.keys()
        self._save_next = time.monotonic() + SAVE_SECONDS

    def save_regularly(self) -> None:
        """Write the index once a minute during the work."""
        if time.monotonic() > self._save_next:
            self.save(complete=False)

    def with_same_code(self, function: Callable[[S], R]) -> Callable[[S], R]:
        """The function, for processes that have the same code and libraries as this one."""
        return partial(_with_same_code, function, self.code, identity(self.code))


@dataclass(frozen=True)
class Held:
    """Samples or codes of a recording in a pack: the pack's path, where they begin, how many, and their SHA-256."""

    path: str
    start: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Piece(Generic[S, M]):
    """A recording in a pack: what to make it of, and its key; what it gave before, and where that is, if known."""

    source: S
    key: str
    seconds: float
    earlier: M | None = None
    held: Held | None = None


@dataclass(frozen=True)
class PackJob(Generic[S, M]):
    """A pack to write at `target`; `whole`: the pack there was before, if it holds just these pieces."""

    target: str
    pieces: tuple[Piece[S, M], ...]
    whole: str | None = None

    def unchanged(self, intact: Callable[[Held], bool]) -> bool:
        """Whether the earlier pack is whole, and undamaged."""
        return bool(self.whole) and all(piece.held is not None and intact(piece.held) for piece in self.pieces)


@dataclass(frozen=True)
class Pack(Generic[M]):
    """A pack that is ready: its path, and what its recordings gave, in its order."""

    path: str
    results: list[M]


@dataclass(frozen=True)
class _Located:
    """An entry of a manifest of packs."""

    file: FileName
    sha256: Sha256
    start: Size = 0
    samples: Size = 0
    codes: Size = 0


@dataclass(frozen=True)
class _Manifest:
    recordings: Sequence[_Located]


@dataclass(frozen=True)
class _Finished(Generic[M]):
    """What lies beside a pack that was finished: keys and results of its recordings, in its order."""

    keys: list[Sha256]
    results: list[M]


def keep(output: Path) -> None:
    """Link an output, if there is one, to where its stage looks for it when DVC has removed it."""
    if not (output / "manifest.json").is_file():
        return
    place = FOLDER / output.name / "output"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for file in sorted(output.iterdir()):
        if file.is_file():
            try:
                (place / file.name).hardlink_to(file.resolve())
            except OSError:  # another file system, or one without links
                (place / file.name).symlink_to(file.resolve())


class Packs(Generic[S, M]):
    """The packs of a stage.

    Parameters
    ----------
    stage
        Its name.
    output
        Its output.
    workspace
        Where the index is: experiments in temporary copies share it.
    kind
        A dataclass, of what a recording gives.
    code
        Modules and packages of the library that determine that.
    suffix
        Of packs.
    """

    def __init__(
        self, stage: str, output: Path, workspace: Path, kind: type[M], code: tuple[str, ...], suffix: str
    ) -> None:
        self.output, self.folder, self.suffix, self.kind = output, FOLDER / stage, suffix, kind
        self.index: Index[M] = Index(workspace / FOLDER / f"{stage}.json", kind, code)
        self._stamps = workspace / FOLDER / f"{stage}-files.json"
        self._layouts: dict[Path, list[Held]] = {}  # packs there are
        for place in (self.folder / "output", output):
            self._find(place)
        self._find_finished()
        self._held = {held.sha256: held for layout in self._layouts.values() for held in layout}

    def _find(self, place: Path) -> None:
        """See what an output holds."""
        path = place / "manifest.json"
        try:
            manifest = parse(_Manifest, read_json(path), path)
        except AudioRNNError:
            return
        for entry in sorted(manifest.recordings, key=lambda entry: entry.start):
            path = place.absolute() / entry.file
            held = Held(str(path), entry.start, entry.samples or entry.codes, entry.sha256)
            self._layouts.setdefault(path, []).append(held)

    def _find_finished(self) -> None:
        """See what a run finished that was interrupted."""
        for path in sorted((self.folder / "done").glob("*.json")):
            try:
                finished = parse(_Finished[self.kind], read_json(path), path)  # type: ignore[name-defined]
            except AudioRNNError:
                continue
            pack, start = path.with_suffix(self.suffix).absolute(), 0
            layout = self._layouts[pack] = []
            for key, result in zip(finished.keys, finished.results, strict=False):
                self.index.add(key, result)
                layout.append(Held(str(pack), start, result.length, result.sha256))
                start += result.length

    def make(
        self,
        function: Callable[[PackJob[S, M]], Pack[M]],
        packs: Mapping[str, Sequence[Piece[S, M]]],
        folder: Path,
        what: str,
        pays_from: float,
    ) -> dict[str, list[M]]:
        """Write packs to a folder, from what there is already as far as it goes.

        Parameters
        ----------
        function
            Makes a pack on any core or machine.
        packs
            Their pieces, in their order, by name without suffix.
        folder
            That becomes the output.
        what
            Is done, for progress and errors.
        pays_from
            Seconds of audio from which on more than one core pays.

        Returns
        -------
        What the pieces gave, by name.
        """
        done = self.folder / "done"
        done.mkdir(parents=True, exist_ok=True)
        intact = self._read_stamps()
        results: dict[str, list[M]] = {}
        ready: dict[str, str] = {}  # paths
        jobs: list[PackJob[S, M]] = []
        weights: list[float] = []
        for name, wanted in packs.items():
            whole, pieces = self._earlier(name, wanted)
            if whole and intact.get(f"{name}{self.suffix}") == _stamp(whole):
                results[name] = [piece.earlier for piece in pieces if piece.earlier]
                ready[name] = whole
                continue
            jobs.append(PackJob(str((done / f"{name}{self.suffix}").absolute()), pieces, whole))
            # To copy and check what there is costs little.
            weights.append(sum(piece.seconds * (0.01 if piece.held else 1) for piece in pieces))
        finished = 0

        def take(number: int, pack: Pack[M]) -> str:
            nonlocal finished
            job = jobs[number]
            name = Path(job.target).stem
            results[name], ready[name] = pack.results, pack.path
            for piece, result in zip(job.pieces, pack.results, strict=True):
                self.index.add(piece.key, result)
            if pack.path == job.target:
                keys = [piece.key for piece in job.pieces]
                write_json(done / f"{name}.json", asdict(_Finished(keys, pack.results)))
            finished += len(job.pieces)
            return f"{finished}/{sum(len(job.pieces) for job in jobs)} files"

        parallel.run(
            self.index.with_same_code(function),
            jobs,
            take,
            what=what,
            weights=[weight / 3600 for weight in weights],
            names=[Path(job.target).name for job in jobs],
            unit="h",
            pays_from=pays_from / 3600,
        )
        for name, path in ready.items():
            _link(Path(path), folder / f"{name}{self.suffix}")
        return results

    def close(self) -> None:
        """Now that the output is there: save the index and what its files are like; remove everything else."""
        self.index.save()
        stamps = {file.name: _stamp(file) for file in sorted(self.output.glob(f"*{self.suffix}"))}
        write_json(self._stamps, stamps)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _earlier(self, name: str, pieces: Sequence[Piece[S, M]]) -> tuple[str | None, tuple[Piece[S, M], ...]]:
        """The earlier pack that holds just these pieces, if there is one; the pieces, with what they gave before."""
        earlier = [self.index.get(piece.key) for piece in pieces]
        wanted = [result.sha256 if result else "" for result in earlier]
        held = [self._held.get(sha256) for sha256 in wanted]
        whole = None
        for path, layout in self._layouts.items():
            if path.stem == name and [each.sha256 for each in layout] == wanted:
                whole, held = str(path), list(layout)
        found = [
            Piece(piece.source, piece.key, piece.seconds, result if place else None, place)
            for piece, result, place in zip(pieces, earlier, held, strict=True)
        ]
        return whole, tuple(found)

    def _read_stamps(self) -> Mapping[str, list[int]]:
        try:
            return parse(dict[AnyText, list[int]], read_json(self._stamps), self._stamps)
        except AudioRNNError:
            return {}


def _stamp(path: str | Path) -> list[int]:
    """Size, time of change and inode of a file; nothing if there is none."""
    try:
        state = Path(path).stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns, state.st_ino]


def _link(source: Path, target: Path) -> None:
    """One file under another name; a copy where that cannot be."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)
