"""Summary of an experiment: a row per setting, means over seeds with their errors, and what follows from them."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiornn.experiments.dvc import SettingResult
from audiornn.experiments.plan import Setting, format_value
from audiornn.ranking import Standing

# Columns of the summary: name, metrics file of the stage, keys in it.
RESULTS = (
    ("validation_bits_per_sample", "evaluate", ("validation", "bits_per_sample")),
    ("test_bits_per_sample", "evaluate", ("test", "bits_per_sample")),
    ("test_accuracy", "evaluate", ("test", "accuracy")),
    ("distance_ratio", "generate", ("distance_ratio",)),
    ("distance_db", "generate", ("distance_db",)),
    ("distance_limit_db", "generate", ("distance_limit_db",)),
    ("findings", "generate", ("findings",)),
    ("clips_with_findings", "generate", ("clips_with_findings",)),
    ("parameters", "train", ("parameters",)),
    ("training_seconds", "train", ("training_seconds",)),
    ("targets_per_second", "train", ("targets_per_second",)),
    ("samples_per_second", "generate", ("samples_per_second",)),
)
COLUMNS = tuple(column for column, _, _ in RESULTS)
VALIDATION_BITS, SECONDS = COLUMNS[0], "training_seconds"
WITH_ERROR = (*COLUMNS[:4], SECONDS, "clips_with_findings")  # columns whose standard error over seeds is given
ERROR = "_se"  # suffix of the columns of standard errors
DATA = ("corpus.", "resample.", "encode.", "shard.")  # sections whose parameters decide what the targets are
CLEAR = 2.0  # standard errors by which two settings must differ to count as different


def row(setting: Setting, result: SettingResult) -> dict[str, Any]:
    """The results of a run: what varies, the columns of the summary, the run."""
    found: dict[str, Any] = dict(setting.varied)
    for column, stage, keys in RESULTS:
        value: Any = result.metrics[stage]
        for key in keys:
            value = value[key]
        found[column] = value
    return {**found, "run": result.run_id}


def failed_row(setting: Setting) -> dict[str, Any]:
    """The row of a run that failed."""
    return {**setting.varied, **dict.fromkeys(COLUMNS), "run": "failed"}


@dataclass(frozen=True)
class Case:
    """A setting with the rows of its runs, one per seed; `name` is the DVC experiment of the first that succeeded."""

    label: str
    name: str
    varied: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    def values(self, column: str) -> list[float]:
        """Its results in a column, of the runs that have one."""
        return [found[column] for found in self.rows if found[column] is not None]

    def mean(self, column: str) -> float | None:
        """The mean over the runs; None if there is none."""
        values = self.values(column)
        return statistics.fmean(values) if len(set(values)) > 1 else next(iter(values), None)

    def error(self, column: str) -> float | None:
        """The standard error of that mean; None for fewer than two runs."""
        values = self.values(column)
        return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None

    @property
    def done(self) -> bool:
        """Whether one of its runs has a result."""
        return bool(self.values(VALIDATION_BITS))

    @property
    def bits(self) -> float:
        """Mean bits per sample on validation."""
        mean = self.mean(VALIDATION_BITS)
        return math.inf if mean is None else mean

    @property
    def standing(self) -> Standing:
        """Means by which settings are ranked."""
        return Standing(self.bits, self.mean("distance_ratio"), self.mean("clips_with_findings"))

    def summary(self) -> dict[str, Any]:
        """Its row in the summary of repeated settings: means, and standard errors beside them."""
        found: dict[str, Any] = {**self.varied, "seeds": len(self.values(VALIDATION_BITS))}
        for column in COLUMNS:
            found[column] = self.mean(column)
            if column in WITH_ERROR:
                found[column + ERROR] = self.error(column)
        return {**found, "run": " ".join(str(each["run"]) for each in self.rows)}


def cases(settings: Sequence[Setting], rows: Sequence[Mapping[str, Any]]) -> list[Case]:
    """The settings, each with all rows of its runs so far."""
    grouped: dict[str, list[int]] = {}
    for i, setting in enumerate(settings[: len(rows)]):
        grouped.setdefault(setting.case, []).append(i)
    made = []
    for label, found in grouped.items():
        whole = next((i for i in found if rows[i][VALIDATION_BITS] is not None), found[0])
        made.append(Case(label, settings[whole].name, settings[whole].varied, [rows[i] for i in found]))
    return made


def difference(better: Case, other: Case) -> tuple[float, float | None]:
    """How many bits more another setting needs, and the standard error of that; None unless both were repeated."""
    errors = better.error(VALIDATION_BITS), other.error(VALIDATION_BITS)
    error = None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])
    return other.bits - better.bits, error


def differ(better: Case, other: Case) -> bool:
    """Whether another setting is clearly worse: by more than twice the standard error of the difference."""
    bits, error = difference(better, other)
    return error is not None and bits > CLEAR * error


def best(found: Sequence[Case]) -> Iterator[str]:
    """The best setting by bits and the best by sound, one line each."""
    done = [case for case in found if case.done]
    if not done:
        return
    first = min(done, key=lambda case: (case.bits, case.label))
    yield f"best by bits: {first.label}, {first.bits:.3f} bits per sample on validation"
    first = min(done, key=lambda case: (case.standing.order, case.standing.flawed, case.label))
    ratio, flawed = first.standing.ratio, first.standing.flawed
    far = "silent" if ratio is None else f"{ratio:.2f} times the distance limit of real audio"
    yield f"best by sound: {first.label}, {far}, {flawed:.0%} of clips with findings"


def conclusion(found: Sequence[Case]) -> str:
    """What a comparison says, in two to four sentences: the best setting, its lead over the next, what it cost.

    Settings differ if the difference of their means exceeds twice its standard error, the root of the sum of the
    squared standard errors of both means. With three seeds each, one comparison in nine of equal settings exceeds that.
    """
    done = sorted((case for case in found if case.done), key=lambda case: (case.bits, case.label))
    if not done:
        return "No setting has a result."
    first = done[0]
    error, count = first.error(VALIDATION_BITS), len(first.values(VALIDATION_BITS))
    spread = "" if error is None else f" ± {error:.4f}"
    over = f" (mean of {count} seeds ± standard error)" if error is not None else ""
    sentences = [f"Best: {first.label}, with {first.bits:.4f}{spread} bits per sample on validation{over}."]
    if len(done) > 1:
        sentences.append(_lead(first, done[1:]))
        sentences += _targets(done)
    sentences.append(_cost(done))
    return " ".join(sentences)


def _targets(done: Sequence[Case]) -> list[str]:
    """A warning if the settings were scored on different targets; else nothing."""
    keys = [key for key in done[0].varied if key.startswith(DATA)]
    differing = [key for key in keys if len({repr(case.varied.get(key)) for case in done}) > 1]
    if not differing:
        return []
    return [
        f"Each is scored on its own targets, which depend on {' and '.join(differing)}: small differences say little."
    ]


def _lead(first: Case, others: Sequence[Case]) -> str:
    """How far the best setting is ahead of the others, nearest first."""
    bits, error = difference(first, others[0])
    if error is None:
        return f"The next, {others[0].label}, needs {bits:.4f} bits more, which may be chance: each has one seed."
    measured = f"{bits:.4f} ± {error:.4f} bits more"
    alike = ", ".join(case.label for case in others if not differ(first, case))
    if differ(first, others[0]):
        unclear = f" No clear difference from {alike}, of which the seeds differ more." if alike else ""
        return f"The next, {others[0].label}, needs {measured}: more than twice the error of that difference.{unclear}"
    return f"No clear difference from {alike}: the next needs {measured}, at most twice the error of that difference."


def _cost(done: Sequence[Case]) -> str:
    """The seconds of training of the best setting, of the next, and of all."""
    each = [case.mean(SECONDS) or 0.0 for case in done]
    total, runs = sum(sum(case.values(SECONDS)) for case in done), sum(len(case.values(SECONDS)) for case in done)
    compared = f", the next {each[1]:,.0f} s" if len(done) > 1 else ""
    per = " per run" if runs > len(done) else ""
    return f"Training it took {each[0]:,.0f} s{per}{compared}; all {runs} finished trainings {total:,.0f} s."


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table with rounded numbers; standard errors are shown beside their means."""

    def number(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
        return format_value(value).replace("|", "\\|")

    def cell(found: Mapping[str, Any], key: str) -> str:
        error = found.get(key + ERROR)
        return number(found[key]) + ("" if error is None else f" ± {number(float(error))}")

    head = [key for key in rows[0] if key.removesuffix(ERROR) == key or key.removesuffix(ERROR) not in rows[0]]
    lines = [head, ["---"] * len(head), *([cell(found, key) for key in head] for found in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
