"""What tests of training share: parameters of short trainings, and the steps that they take."""

from audiornn.models import storage
from audiornn.params import ModelParams, Train
from audiornn.training.devices import optimizers
from audiornn.training.devices.batch_plan import BatchPlan
from audiornn.training.devices.steps import DeviceSteps

SMALL_MODEL = ModelParams(name="audiornn", dense=16, units=16, layers=1)


def quick(**changes):
    """Parameters of a training that takes seconds."""
    defaults = {"model": SMALL_MODEL, "epochs": 3, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 2}
    return Train(**defaults | changes)


def device_steps(folder, params, scaled=False):
    """The steps of a new model on the shards of a manifest; `scaled`: with scaled losses."""
    layout, windows = folder.layout, folder.splits["train"].windows
    model = storage.build(params.model.name, **params.model.sizes)
    plan = BatchPlan.for_windows(params, layout.context, layout.targets_per_window, windows=windows, hop=model.hop)
    return DeviceSteps(model, optimizers.build_optimizer(params, model, scaled), plan, params)
