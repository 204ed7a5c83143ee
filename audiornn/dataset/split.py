"""Split of recordings into training, validation and test."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from audiornn.common.errors import AudioRNNError
from audiornn.common.validation import Size

SPLITS = ("train", "validation", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class CodeRange:
    """Codes `start` to `stop` (excluded) of a recording, by its name."""

    recording: str
    start: Size
    stop: Size


def divide(
    lengths: Mapping[str, int], validation: float, test: float, context: int, seed: int = 0
) -> tuple[dict[str, list[CodeRange]], list[str]]:
    """Divide recordings into training, validation and test.

    By recording: in an order drawn from `seed` and the names, very long ones first, each recording goes to the split
    that is furthest below its share, whatever the context, so that models of different contexts are tested on the same
    recordings. If fewer recordings than splits are long enough, each is divided by time instead: the start is for
    training, the end for the test.

    Parameters
    ----------
    lengths
        Codes of every recording by name.
    validation, test
        Shares of all codes, each in (0, 1), their sum below 1.
    context
        Ranges of this many codes or fewer hold no target and are left out.
    seed
        Random seed of the split.

    Returns
    -------
    Disjoint ranges by split; names of recordings too short for the context.

    Raises
    ------
    AudioRNNError
        If a split would have no target.
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
    if len(long) < len(SPLITS):
        return _split_by_time(long, shares, context), short

    def sort_key(name: str) -> str:
        return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()

    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    remaining = {split: share * sum(lengths.values()) for split, share in shares.items()}
    # A recording too long for the smallest share comes before shorter ones can fill the splits, or it would land in
    # validation or test. Lengths count in octaves of that share: the seed still mixes recordings of like length.
    smallest = max(1, int(min(remaining.values())))
    for name in sorted(lengths, key=lambda n: (-(lengths[n] // smallest).bit_length(), sort_key(n))):
        split = max(SPLITS, key=lambda s: remaining[s])
        remaining[split] -= lengths[name]
        if name in long:
            names[split].append(name)
    for split in SPLITS:  # a few long recordings may exhaust the shares before every split has one
        if not names[split]:
            donor = max(SPLITS, key=lambda s: len(names[s]))
            names[split].append(names[donor].pop(names[donor].index(min(names[donor], key=lambda n: long[n]))))
    return {split: [CodeRange(name, 0, long[name]) for name in names[split]] for split in SPLITS}, short


def _split_by_time(lengths: Mapping[str, int], shares: Mapping[str, float], context: int) -> dict[str, list[CodeRange]]:
    splits: dict[str, list[CodeRange]] = {split: [] for split in SPLITS}
    longest = dict.fromkeys(SPLITS, 0)
    for name, n in sorted(lengths.items()):
        first, second = round(n * shares["train"]), round(n * (shares["train"] + shares["validation"]))
        for split, start, stop in zip(SPLITS, (0, first, second), (first, second, n), strict=True):
            longest[split] = max(longest[split], stop - start)
            if stop - start > context:
                splits[split].append(CodeRange(name, start, stop))
    for split, ranges in splits.items():
        if not ranges:
            n = max(lengths.values())
            raise AudioRNNError(
                f"shard.context is {context} codes, but the {split} split of the longest recording, {n} codes divided "
                f"by time, has {longest[split]}: use a shorter context, longer recordings, or at least "
                f"{len(SPLITS)} of them"
            )
    return splits


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items shuffled by `seed`, the same on every machine."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return order
