"""Score the trained model on validation and test, look closely at the test part, and draw what is found."""

import csv
from pathlib import Path

from audiornn import figures
from audiornn.dataset import shards
from audiornn.dataset.recordings import Part
from audiornn.evaluation import context_curve, passages, per_code
from audiornn.evaluation import scores as scores_module
from audiornn.files import atomic_folder, write_json
from audiornn.models import storage
from audiornn.params import Params
from audiornn.tracking import runs
from stages.common import WORKSPACE, run

MODEL, ENCODED, SHARDS, HISTORY = Path("models"), Path("data/encode"), Path("data/shard"), Path("metrics/history.csv")
METRICS, CONTEXT, PASSAGES, FIGURES = (
    "metrics/evaluate.json",
    "metrics/evaluate-context.csv",
    "passages",
    Path("figures"),
)


def main(p: Params) -> None:
    model = storage.load(MODEL)
    manifest = shards.read_manifest(SHARDS)
    trained, rate = manifest["context"], model.settings["codec"]["sample_rate"]
    scores = scores_module.evaluate(model, SHARDS, p.evaluate.batch, parts=["validation"])
    test = Part(ENCODED, SHARDS, model.settings["codec"])
    layout = {key: manifest[key] for key in ("context", "span", "shift")}
    survey = per_code.survey(model, test.ranges, **layout, batch=p.evaluate.batch)
    scores["test"] = {**survey.scores, "calibration_error": survey.likeliest.error}
    curve = context_curve.context_curve(model, test.ranges, trained, p.evaluate.context_targets, p.evaluate.seed)
    extremes = passages.extremes(survey.bits, test)
    with open(HISTORY, encoding="utf-8") as file:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    entropy = manifest["encode_metrics"]["code_entropy_bits"]
    drawn = {
        "curves": figures.curves(history, entropy),
        "context": figures.context_curve(curve, trained, entropy),
        "calibration": figures.calibration(survey.likeliest, survey.every),
        "passages": figures.passages(extremes, rate),
    }
    for name, figure in drawn.items():
        figures.save(figure, FIGURES / f"{name}.png")
    with atomic_folder(PASSAGES) as folder:
        for passage in extremes:
            passage.write(folder, rate)
    context_curve.write_curve(CONTEXT, curve)
    write_json(METRICS, scores)
    log = runs.reopen(WORKSPACE, MODEL)
    log.metrics({f"{part}.{key}": value for part, values in scores.items() for key, value in values.items()})
    log.curves({c.context: {"context_bits": c.bits_per_sample, "context_bits_error": c.standard_error} for c in curve})
    for name in drawn:
        log.artifact(FIGURES / f"{name}.png", "figures")
    for artifact, place in ((CONTEXT, "metrics"), (PASSAGES, "passages")):
        log.artifact(artifact, place)
    for part, values in scores.items():
        print(
            f"{part}: {values['bits_per_sample']:.3f} bits per sample, {values['accuracy']:.1%} right, "
            f"{values['top5_accuracy']:.1%} among the five likeliest"
        )
    print(f"context: {context_curve.describe_curve(curve, trained)}")


if __name__ == "__main__":
    run(main)
