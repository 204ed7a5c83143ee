"""Score the trained model on validation and test, evaluate the test split in detail, and plot the results."""

from pathlib import Path

import numpy as np
import pandas as pd

from audiornn import figures
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import write_json
from audiornn.dataset.manifest import read_manifest
from audiornn.evaluation import context_curve, passages, per_code
from audiornn.models import storage
from audiornn.params import Params
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.preparation.recordings import SplitRecordings
from audiornn.tracking import runs
from audiornn.training.scores import evaluate
from stages.common import WORKSPACE, run

MODEL, ENCODED, SHARDS, HISTORY = Path("models"), Path("data/encode"), Path("data/shard"), Path("metrics/history.csv")
METRICS, CONTEXT, PASSAGES, FIGURES = (
    "metrics/evaluate.json",
    "metrics/evaluate-context.csv",
    "passages",
    Path("figures"),
)


def read_history(path: Path) -> list[dict[str, float]]:
    """The validations of the training, one dict each.

    Raises
    ------
    AudioRNNError
        If the file is missing, or does not hold them.
    """
    try:
        history = pd.read_csv(path, dtype=float)
        rows = history[["epoch", "train_loss", "validation_loss", "train_accuracy", "validation_accuracy"]]
        if not len(rows) or not np.isfinite(rows.to_numpy()).all():
            raise ValueError("it has no rows, or numbers that are not finite")
    except (OSError, ValueError, KeyError) as error:
        raise AudioRNNError(f"{path}: not the losses of a training: {one_line(error)}; run dvc repro train") from None
    return [{str(key): value for key, value in row.items()} for row in history.to_dict("records")]


def main(p: Params) -> None:
    mlflow_run = runs.reopen(WORKSPACE, MODEL)  # first of all, as the tracking server may not be there
    model = storage.load(MODEL)
    manifest = read_manifest(SHARDS)
    context, rate = manifest.layout.context, model.codec.sample_rate
    scores = evaluate(model, manifest, p.evaluate.batch_size, splits=["validation"])
    test = SplitRecordings(EncodedCorpus(ENCODED), manifest)
    losses = per_code.evaluate_codes(model, test.recordings, manifest.layout, p.evaluate.batch_size)
    scores["test"] = {**losses.scores, "calibration_error": losses.top_code.error}
    curve = context_curve.context_curve(model, test.recordings, context, p.evaluate.context_targets, p.evaluate.seed)
    best_and_worst = passages.best_and_worst(losses.bits, test)
    history = read_history(HISTORY)
    entropy = manifest.encode_metrics.code_entropy_bits
    plots = {
        "curves": figures.curves(history, entropy),
        "context": figures.context_curve(curve, context, entropy),
        "calibration": figures.calibration(losses.top_code, losses.all_codes),
        "passages": figures.passages(best_and_worst, rate),
    }
    for name, figure in plots.items():
        figures.save(figure, FIGURES / f"{name}.png")
    with atomic_folder(PASSAGES) as folder:
        for passage in best_and_worst:
            passage.write(folder, rate)
    context_curve.write_curve(CONTEXT, curve)
    write_json(METRICS, scores)
    with mlflow_run:
        mlflow_run.log_metrics(
            {f"{split}.{key}": value for split, values in scores.items() for key, value in values.items()}
        )
        mlflow_run.log_curves(
            {c.context: {"context_bits": c.bits_per_sample, "context_bits_error": c.standard_error} for c in curve}
        )
        for name in plots:
            mlflow_run.log_artifact(FIGURES / f"{name}.png", "figures")
        for artifact, folder_name in ((CONTEXT, "metrics"), (PASSAGES, "passages")):
            mlflow_run.log_artifact(artifact, folder_name)
    for split, values in scores.items():
        print(
            f"{split}: {values['bits_per_sample']:.3f} bits per sample, {values['accuracy']:.1%} correct, "
            f"{values['top5_accuracy']:.1%} in the top 5"
        )
    print(f"context: {context_curve.describe_curve(curve, context)}")


if __name__ == "__main__":
    run(main)
