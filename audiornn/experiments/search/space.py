"""The settings that a search can choose."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audiornn.common.digests import digest
from audiornn.common.errors import AudioRNNError
from audiornn.experiments.definition import Range
from audiornn.experiments.plan import PlannedExperiment, Setting, format_value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 4  # significant digits of a number that was drawn


class Space:
    """The settings that a search can choose; `first` is one of them.

    Raises
    ------
    AudioRNNError
        If an end of a range, or a value of a choice, is not valid; one line per problem.
    """

    def __init__(self, planned: PlannedExperiment) -> None:
        self.planned = planned
        self.ranges: dict[str, Range] = planned.experiment.search or {}
        first = {key: found.ends[0] for key, found in self.ranges.items()}
        problems = dict[str, None]()
        for key, found in self.ranges.items():
            for value in found.ends:
                try:
                    self.setting({**first, key: value}, 0)
                except AudioRNNError as error:
                    problems |= dict.fromkeys(str(error).splitlines())
        if problems:
            raise AudioRNNError("\n".join(problems))
        self.first = self.setting(first, 0)
        described = {key: found.model_dump() for key, found in self.ranges.items()}
        self.identity = digest([planned.name, "search", described, self.first.params.model_dump()])

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """The ranges as Optuna has them."""
        from optuna import distributions

        found: dict[str, BaseDistribution] = {}
        for key, each in self.ranges.items():
            if each.choice is not None:
                found[key] = distributions.CategoricalDistribution(
                    list(dict.fromkeys(format_value(value) for value in each.choice))
                )
                continue
            assert each.low is not None and each.high is not None
            if each.is_integer:
                found[key] = distributions.IntDistribution(
                    int(each.low), int(each.high), log=each.log, step=int(each.step or 1)
                )
            else:
                found[key] = distributions.FloatDistribution(each.low, each.high, log=each.log, step=each.step)
        return found

    def values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Values of parameters from what Optuna has drawn: floats with four digits, choices as the file has them."""
        found = {}
        for key, value in drawn.items():
            each = self.ranges[key]
            if each.choice is not None:
                found[key] = {format_value(choice): choice for choice in each.choice}[value]
            elif each.is_integer:
                found[key] = int(value)
            else:
                found[key] = min(max(float(f"{value:.{DIGITS}g}"), float(each.low or 0)), float(each.high or 0))
        return found

    def setting(self, values: Mapping[str, Any], number: int) -> Setting:
        """The setting of a trial."""
        return self.planned.setting({"trial": number, **values}, dict(values), named=f"trial{number}")


def label(space: Space, number: int, drawn: Mapping[str, Any]) -> str:
    """A trial by its number and the values that were drawn for it, in a line."""
    values = {"trial": number, **space.values(drawn)}
    return " ".join(f"{key}={format_value(value)}" for key, value in values.items())
