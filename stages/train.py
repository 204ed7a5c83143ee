"""Train the model in a new MLflow run."""

import math
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import read_json, write_json
from audiornn.dataset.manifest import MANIFEST, read_manifest
from audiornn.generation import training_clips
from audiornn.models.base import AudioModel
from audiornn.params import Params
from audiornn.tracking import runs, trials
from audiornn.tracking.tags import VALIDATION_DIGEST_TAG, ancestor_tags
from audiornn.training import checkpoints, trainer
from audiornn.training.ancestor import Ancestor, find
from audiornn.training.devices import distribution
from audiornn.training.progress.curves import StepMetrics, ValidationRecord
from stages.common import WORKSPACE, run

INPUT, OUTPUT, HISTORY, CHECKPOINTS = Path("data/shard"), Path("models"), Path("metrics/history.csv"), "checkpoints"
ANCESTOR = Path("data/ancestor.json")
PRUNED = 3  # exit code of a training that a search has ended


def main(p: Params) -> None:
    try:
        train(p)
    except trials.Pruned as pruned:
        print(f"pruned {pruned}", file=sys.stderr)
        sys.exit(PRUNED)


def train(p: Params) -> None:
    manifest = read_manifest(INPUT)
    tags = {"data.digest": manifest.digest, VALIDATION_DIGEST_TAG: manifest.validation_digest}
    trial = trials.current_trial()
    ancestor = find_ancestor(p.train.start_from)
    if ancestor:
        tags |= ancestor_tags(ancestor.source, ancestor.weights_sha256, ancestor.run_id)
    steps_before = ancestor.steps if ancestor else 0  # curves by step continue from there
    name = f"{p.train.model.name} {manifest.layout.context}"
    fingerprint = checkpoints.training_fingerprint(
        p.train.model_dump(), manifest, ancestor.weights_sha256 if ancestor else None
    )
    if not distribution.is_chief():  # trains and reads the chief's checkpoints, but writes nothing
        shared = checkpoints.CheckpointStore(WORKSPACE / CHECKPOINTS / fingerprint)
        trainer.train(manifest, OUTPUT, p.train, ancestor=ancestor, store=shared)
        return
    with (
        checkpoints.locked_store(WORKSPACE / CHECKPOINTS, fingerprint) as store,
        runs.pipeline_run(
            WORKSPACE, p.model_dump(), tags, name, store.folder / runs.RUN_FILE if store else None
        ) as mlflow_run,
    ):
        mlflow_run.log_dataset(manifest.digest, manifest.summary())
        mlflow_run.log_metrics({f"encode.{key}": value for key, value in asdict(manifest.encode_metrics).items()})
        mlflow_run.log_artifact(INPUT / MANIFEST, "data")

        clips = training_clips.TrainingClips(
            manifest, p.train, lambda folder: mlflow_run.log_artifact(folder, "training_clips")
        )

        def on_validation(record: ValidationRecord, model: AudioModel) -> None:
            by_update, step = bool(p.train.validate_every_steps), steps_before + record.step
            mlflow_run.log_metrics(asdict(record), step=step if by_update else math.ceil(record.epoch))
            mlflow_run.log_metrics({"loss/validation": record.validation_loss}, step=step)
            if trial:
                at, unit = (record.step, "update") if by_update else (math.ceil(record.epoch), "epoch")
                try:
                    trial.report(record.validation_loss, at, f"{unit} {at}")
                except trials.Pruned:
                    if store:  # nobody will resume it
                        shutil.rmtree(store.folder)
                    raise

        def on_steps(points: list[StepMetrics]) -> None:
            curves = {steps_before + point.step: asdict(point) for point in points}
            mlflow_run.log_curves({step: {"loss/training": curve.pop("loss")} for step, curve in curves.items()})
            mlflow_run.log_curves(curves, prefix="step.")

        model, result = trainer.train(
            manifest,
            OUTPUT,
            p.train,
            ancestor=ancestor,
            log=HISTORY,
            on_validation=on_validation,
            on_batch=clips.after_batch,
            on_steps=on_steps,
            store=store,
            model_files={runs.RUN_FILE: {"run_id": mlflow_run.run_id}},
        )
        metrics = {
            "targets_per_second": result.targets_per_second,
            "training_seconds": result.seconds,
            "epochs": result.history[-1].epoch,
            "best_epoch": result.best_epoch,
            "best_validation_bits_per_sample": result.best_validation,
            "steps": result.steps,
            "parameters": model.count_params(),
            "diverged": int(result.diverged),
        }
        write_json("metrics/train.json", metrics)
        mlflow_run.log_metrics({key: value for key, value in metrics.items() if key != "diverged"})
        mlflow_run.log_metrics(
            {
                "training_clips.share": clips.share,
                "training_clips.seconds": clips.seconds,
                "training_clips.count": clips.count,
            }
        )
        mlflow_run.set_tags({"stopped": result.stop_reason, "diverged": result.diverged})
        mlflow_run.log_model(OUTPUT)
        mlflow_run.log_artifact(HISTORY, "metrics")
    print(f"stopped {result.stop_reason}" if not result.diverged else f"warning: {result.stop_reason}")


def find_ancestor(source: str | None) -> Ancestor | None:
    """The model that training starts from, if any: the one that the stage `ancestor` found."""
    if source is None:
        return None
    ancestor = find(source, WORKSPACE)
    if ancestor.summary() != read_json(ANCESTOR):
        raise AudioRNNError(f"train.start_from is {source!r}, another model than in {ANCESTOR}: run dvc repro again")
    return ancestor


if __name__ == "__main__":
    run(main)
