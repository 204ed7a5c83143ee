"""Trials of a search: where Optuna keeps them, and how the training of one reports its validations.

The study is a SQLite database, whose transactions survive a kill at any time. (Optuna's journal file does not: what is
appended after a line that was cut off is lost.) The search tells the train stage by two environment variables which
trial it is. After each validation the stage reports the loss, and ends itself if the trial is behind, so that nothing
has to wait for the search and the same search prunes the same trials.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.files import atomic_file

if TYPE_CHECKING:
    from optuna import Study, Trial

STUDY, TRIAL = "AUDIORNN_STUDY", "AUDIORNN_TRIAL"  # environment variables: path of the study, number of the trial
NAME = "search"  # of the study in its database
PRUNED = "pruned"  # user attribute of a trial that was: why
COMPLETE_FIRST, VALIDATIONS_FIRST = 5, 2  # trials that complete before any is pruned, and validations of each before


class Pruned(Exception):  # noqa: N818 - not an error
    """The training of a trial ends early, as trials before it were better at that time."""


def open_study(path: str | Path) -> "Study":
    """Open the study of a database, which is created, complete or not at all, if there is none.

    Raises
    ------
    AudioRNNError
        If the file is no such database.
    """
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        if not Path(path).exists():
            with atomic_file(path) as partial:
                storage = RDBStorage(f"sqlite:///{partial.resolve()}")
                optuna.create_study(storage=storage, study_name=NAME, direction="minimize")
                storage.engine.dispose()
        return optuna.load_study(
            study_name=NAME,
            storage=RDBStorage(f"sqlite:///{Path(path).resolve()}", engine_kwargs={"connect_args": {"timeout": 60}}),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=COMPLETE_FIRST),
        )
    except (SQLAlchemyError, KeyError, RuntimeError, optuna.exceptions.OptunaError) as error:
        raise AudioRNNError(f"{path}: not readable as a study of Optuna: {one_line(error)}") from None


@dataclass
class RunningTrial:
    """The trial that this process trains."""

    trial: "Trial"
    reported: int = 0

    def report(self, bits: float, step: int, when: str) -> None:
        """Report a validation.

        Parameters
        ----------
        bits
            Loss in bits per sample.
        step
            When it was, on the axis on which trials are compared: epochs, or updates.
        when
            The same, in words.

        Raises
        ------
        Pruned
            If the loss was never as low as the median of the other trials at that step.
        """
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        self.reported += 1
        try:
            self.trial.report(bits, step)
            if self.reported < VALIDATIONS_FIRST or not self.trial.should_prune():
                return
            why = f"after {when} at {bits:.3f} bits per sample: worse than the median of the trials before"
            self.trial.set_user_attr(PRUNED, why)
        except (OptunaError, SQLAlchemyError) as error:  # a lost report is no reason to lose a training
            tqdm.write(f"warning: the search was not told of this validation: {one_line(error)}")
            return
        raise Pruned(why)


def current_trial() -> RunningTrial | None:
    """The trial of a search that this process trains, by its environment; None outside a search."""
    if not (path := os.environ.get(STUDY)):
        return None
    import optuna

    study, number = open_study(path), int(os.environ[TRIAL])
    return RunningTrial(optuna.trial.Trial(study, study.trials[number]._trial_id))
