"""Find recordings, say what is readable and what is not, and divide recordings into parts."""

import hashlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiornn import audio
from audiornn.errors import AudioRNNError
from audiornn.files import sha256, slug

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Recording:
    """A readable recording.

    `path` is relative to the corpus folder, with forward slashes; `frames` are samples a channel.
    """

    path: str
    rate: int
    channels: int
    frames: int
    seconds: float
    sha256: str

    @property
    def name(self) -> str:
        """A short plain name, unique in a corpus without duplicates, for files that are made from the recording."""
        return f"{slug(Path(self.path).stem)}-{self.sha256[:8]}"


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why."""

    path: str
    reason: str


def scan(folder: str | Path) -> tuple[list[Recording], list[LeftOut]]:
    """Find all readable recordings below a folder, sorted by path.

    Every file is decoded to its end: a header can promise what the data does not hold. Files that libsndfile cannot
    read, that are empty, silent (all samples equal), not finite or the same as an earlier file are left out, and so
    are folders that may not be read. Hidden files and folders are passed over without a word.

    Raises
    ------
    AudioRNNError
        If the folder does not exist or is not a folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise AudioRNNError(f"{folder}: {'not a folder' if root.exists() else 'no such folder'}")
    recordings: list[Recording] = []
    left_out: list[LeftOut] = []
    seen: dict[str, str] = {}
    unreadable: list[OSError] = []
    for path in sorted(_files(root, unreadable), key=os.fsencode):
        relative = Path(path).relative_to(root).as_posix()
        try:
            recording = _examine(root, relative)
            if (first := seen.setdefault(recording.sha256, relative)) != relative:
                raise AudioRNNError(f"the same as {first}")
            recordings.append(recording)
        except AudioRNNError as error:
            left_out.append(LeftOut(relative, str(error).removeprefix(f"{root / relative}: ")))
        except OSError as error:
            left_out.append(LeftOut(relative, f"cannot be read: {error.strerror}"))
    for refused in unreadable:
        relative = Path(refused.filename).relative_to(root).as_posix()
        left_out.append(LeftOut(relative, f"folder cannot be read: {refused.strerror}"))
    return recordings, left_out


def _files(root: Path, unreadable: list[OSError]) -> Iterator[str]:
    visited = set()
    for folder, folders, files in os.walk(root, onerror=unreadable.append, followlinks=True):
        if (real := os.path.realpath(folder)) in visited:  # links may form a circle
            folders.clear()
            continue
        visited.add(real)
        # Sorted, because the first of several ways to a folder is the one that its files are named by.
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=os.fsencode)
        yield from (os.path.join(folder, name) for name in files if not name.startswith("."))


def _examine(root: Path, relative: str) -> Recording:
    path = root / relative
    with audio.open_audio(path) as file:
        rate, channels = file.samplerate, file.channels
    frames, low, high = 0, np.inf, -np.inf
    for block in audio.read_blocks(path):
        frames += len(block)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    if not frames:
        raise AudioRNNError(f"{path}: empty")
    if low == high:
        raise AudioRNNError(f"{path}: silent: all samples are {low:g}")
    return Recording(relative, rate, channels, frames, frames / rate, sha256(path))


def report(recordings: Sequence[Recording], left_out: Sequence[LeftOut], source: str) -> str:
    """What was found, for people to read, as Markdown."""
    seconds = sum(r.seconds for r in recordings)
    lines = [
        f"# Recordings in {source}",
        "",
        f"{len(recordings)} recordings, {seconds / 60:.1f} minutes; {len(left_out)} files left out.",
        "",
    ]
    kinds: dict[tuple[int, int], list[float]] = {}
    for r in recordings:
        kinds.setdefault((r.rate, r.channels), []).append(r.seconds)
    lines += ["| sample rate (Hz) | channels | recordings | minutes |", "|---|---|---|---|"]
    lines += [f"| {rate} | {ch} | {len(s)} | {sum(s) / 60:.2f} |" for (rate, ch), s in sorted(kinds.items())]
    if left_out:
        lines += ["", "| left out | why |", "|---|---|"]
        cells = [(_printable(item.path), _printable(item.reason)) for item in left_out]
        lines += [f"| {path} | {reason} |" for path, reason in cells]
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    """Without what a Markdown table or UTF-8 cannot hold (file names may be any bytes)."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines()).replace("|", "\\|")


def manifest(recordings: Sequence[Recording], left_out: Sequence[LeftOut], root: str) -> dict[str, Any]:
    """The JSON form of a scan; `root` is the folder that the paths are relative to."""
    return {
        "root": root,
        "seconds": sum(r.seconds for r in recordings),
        "recordings": [asdict(r) for r in recordings],
        "left_out": [asdict(item) for item in left_out],
    }


@dataclass(frozen=True)
class Range:
    """Codes `start` to `stop` (excluded) of a recording, by its name."""

    recording: str
    start: int
    stop: int


def split(
    lengths: Mapping[str, int], validation: float, test: float, context: int, seed: int = 0
) -> tuple[dict[str, list[Range]], list[str]]:
    """Divide recordings into training, validation and test.

    By recording: in an order drawn from `seed` and the recordings' names, very long ones first, each goes to the part
    that lacks most of its share. With fewer recordings than parts, each is divided by time instead: its start trains,
    its end tests.

    Parameters
    ----------
    lengths
        Codes of every recording by name.
    validation, test
        Shares of all codes, each in (0, 1), their sum below 1.
    context
        Ranges of no more codes than this hold no target and are left out.
    seed
        Another seed gives another division.

    Returns
    -------
    Ranges by part, none of which overlap; and the names of recordings too short for the context.

    Raises
    ------
    AudioRNNError
        If a part would be without a target.
    """
    long = {name: n for name, n in lengths.items() if n > context}
    short = sorted(set(lengths) - set(long))
    if not long:
        longest = max(lengths.values(), default=0)
        raise AudioRNNError(
            f"shard.context is {context} codes, but the longest recording has {longest}: "
            "a context must be shorter than the recordings"
        )
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    if len(long) < len(PARTS):
        return _split_by_time(long, shares, context), short

    def drawn(name: str) -> str:
        return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()

    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    lacking = {part: share * sum(long.values()) for part, share in shares.items()}
    # A recording too long for the smallest share comes before shorter ones can fill the parts up, or it would land in
    # validation or test. Lengths count in octaves of that share: the seed still mixes recordings of like length.
    smallest = max(1, int(min(lacking.values())))
    for name in sorted(long, key=lambda n: (-(long[n] // smallest).bit_length(), drawn(n))):
        part = max(PARTS, key=lambda p: lacking[p])
        parts[part].append(name)
        lacking[part] -= long[name]
    for part in PARTS:  # a few long recordings can use up the shares before each part has one
        if not parts[part]:
            donor = max(PARTS, key=lambda p: len(parts[p]))
            parts[part].append(parts[donor].pop(parts[donor].index(min(parts[donor], key=lambda n: long[n]))))
    return {part: [Range(name, 0, long[name]) for name in parts[part]] for part in PARTS}, short


def _split_by_time(lengths: Mapping[str, int], shares: Mapping[str, float], context: int) -> dict[str, list[Range]]:
    parts: dict[str, list[Range]] = {part: [] for part in PARTS}
    longest = dict.fromkeys(PARTS, 0)
    for name, n in sorted(lengths.items()):
        first, second = round(n * shares["train"]), round(n * (shares["train"] + shares["validation"]))
        for part, start, stop in zip(PARTS, (0, first, second), (first, second, n), strict=True):
            longest[part] = max(longest[part], stop - start)
            if stop - start > context:
                parts[part].append(Range(name, start, stop))
    for part, ranges in parts.items():
        if not ranges:
            n = max(lengths.values())
            raise AudioRNNError(
                f"shard.context is {context} codes, but the {part} part of the longest recording, {n} codes divided "
                f"by time, has {longest[part]}: a shorter context, longer recordings, or at least "
                f"{len(PARTS)} of them would do"
            )
    return parts


def shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    """The items in an order drawn from `seed`, the same on every machine."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return order
