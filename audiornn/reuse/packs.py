"""Packs: files of several recordings each, of which only those are written that hold something new."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from audiornn.common import parallel
from audiornn.common.digests import file_stamp
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import AnyText, FileName, Sha256, Size, parse
from audiornn.reuse.index import FOLDER, Index, with_same_code


class Made(Protocol):
    """What a stage made of a recording: the digest of its samples or codes, and how many there are."""

    @property
    def sha256(self) -> str:
        """Of its samples or codes."""

    @property
    def length(self) -> int:
        """How many there are."""


M = TypeVar("M", bound=Made)
S = TypeVar("S")


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
            with_same_code(function, self.index.code),
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
    """The stamp of a file as JSON gives it back; empty if there is no file."""
    try:
        return list(file_stamp(path))
    except OSError:
        return []


def _link(source: Path, target: Path) -> None:
    """One file under another name; a copy where that cannot be."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)
