"""A process that trains, alone or as one of several workers: `python -m tests.helpers.training_worker PLAN.json`."""

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


def main(plan: Path) -> None:
    settings = json.loads(plan.read_text())
    from audiornn.backend import tf
    from audiornn.dataset.manifest import read_manifest
    from audiornn.models import registry
    from audiornn.params import Train
    from audiornn.training import trainer
    from audiornn.training.checkpoints import Store
    from audiornn.training.devices import distribution

    registry.REGISTRY["tiny"] = "tests.helpers.tiny_model:TinyModel"
    if settings["devices"] > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * settings["devices"])
        devices = [f"CPU:{i}" for i in range(settings["devices"])]
        distribution.strategy = lambda name: tf.distribute.MirroredStrategy(devices)
    place = Path(settings["place"])
    seen = []
    # A clock that shows more seconds whenever it is read, so that trainings by the minute end after some batches.
    clock = {"clock": itertools.count(0, settings["tick"]).__next__} if settings["tick"] else {}
    model, result = trainer.train(
        read_manifest(settings["folder"]),
        place / "model",
        Train(**settings["params"]),
        log=place / "history.csv",
        store=Store(place / "store"),
        on_validation=lambda record, model: seen.append(record.step),
        progress=False,
        **clock,
    )
    np.savez(plan.with_suffix(".npz"), *model.get_weights())
    plan.with_suffix(".report.json").write_text(json.dumps(report(result) | {"handed_on": seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
