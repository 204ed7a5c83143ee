"""One of several processes, or a process with several devices, that trains: `python -m tests.worker PLAN.json`."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def report(result: Any) -> dict[str, Any]:
    """What must be the same however many there were."""
    losses = [(epoch.train_loss, epoch.validation_loss, epoch.validation_accuracy) for epoch in result.history]
    return {"losses": losses, "targets": result.targets, "steps": result.steps}


def main(plan: Path) -> None:
    settings = json.loads(plan.read_text())
    from audiornn.backend import tf
    from audiornn.dataset.shards import read_manifest
    from audiornn.models import registry
    from audiornn.params import Train
    from audiornn.training import distribution, trainer
    from audiornn.training.checkpoints import Store

    registry.REGISTRY["little"] = "tests.helpers.tiny_model:Little"
    if settings["devices"] > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * settings["devices"])
        devices = [f"CPU:{i}" for i in range(settings["devices"])]
        distribution.strategy = lambda name: tf.distribute.MirroredStrategy(devices)
    place = Path(settings["place"])
    seen = []
    model, result = trainer.train(
        read_manifest(settings["folder"]),
        place / "model",
        Train(**settings["params"]),
        log=place / "history.csv",
        store=Store(place / "store"),
        on_epoch=lambda epoch, model: seen.append(epoch.step),
        progress=False,
    )
    np.savez(plan.with_suffix(".npz"), *model.get_weights())
    plan.with_suffix(".report.json").write_text(json.dumps(report(result) | {"handed_on": seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
