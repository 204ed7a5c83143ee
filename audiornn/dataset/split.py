"""Divide recordings into training, validation and test."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiornn.errors import AudioRNNError

PARTS = ("train", "validation", "test")


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
