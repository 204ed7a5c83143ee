"""A process that trains, alone or as one of several workers, once for each plan:
`python -m tests.helpers.training_worker PLAN.json ...`.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def report(result: Any) -> dict[str, Any]:
    """Results that do not depend on the number of processes or devices."""
    losses = [(record.train_loss, record.validation_loss, record.validation_accuracy) for record in result.history]
    return {"losses": losses, "targets": result.targets, "steps": result.steps}


def main(plans: list[Path]) -> None:
    from audiornn.backend import tf
    from audiornn.models import registry

    registry.REGISTRY["tiny"] = "tests.helpers.tiny_model:TinyModel"
    settings = {plan: json.loads(plan.read_text()) for plan in plans}
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * max(its["devices"] for its in settings.values())
    tf.config.set_logical_device_configuration(cpu, devices)
    for plan in plans:
        train(plan, **settings[plan])


def train(plan: Path, folder: str, place: str, params: dict[str, Any], devices: int, tick: float | None) -> None:
    from audiornn.backend import tf
    from audiornn.dataset.manifest import read_manifest
    from audiornn.params import Train
    from audiornn.training import trainer
    from audiornn.training.checkpoints import CheckpointStore
    from audiornn.training.devices import distribution

    if devices > 1:
        names = [f"CPU:{i}" for i in range(devices)]
        distribution.strategy = lambda name: tf.distribute.MirroredStrategy(names)
    seen = []
    # A clock that shows more seconds whenever it is read, so that trainings by the minute end after some batches.
    clock = {"clock": itertools.count(0, tick).__next__} if tick else {}
    model, result = trainer.train(
        read_manifest(folder),
        Path(place) / "model",
        Train(**params),
        log=Path(place) / "history.csv",
        store=CheckpointStore(Path(place) / "store"),
        on_validation=lambda record, model: seen.append(record.step),
        progress=False,
        **clock,
    )
    np.savez(plan.with_suffix(".npz"), *model.get_weights())
    plan.with_suffix(".report.json").write_text(json.dumps(report(result) | {"handed_on": seen}))


if __name__ == "__main__":
    main([Path(plan) for plan in sys.argv[1:]])
