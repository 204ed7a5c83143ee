"""What recordings of a synthesised corpus are like."""

import hashlib
from pathlib import Path

import soundfile as sf


def digest(paths: list[Path]) -> list[tuple[str, str]]:
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]


def seconds(path: Path) -> float:
    return float(sf.info(path).duration)


def voice_of(path: Path) -> str:
    return path.stem.split("-", 1)[1]
