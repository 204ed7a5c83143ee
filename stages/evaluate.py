"""Score the trained model on validation and test; draw its learning curves."""

import csv
from pathlib import Path

from audiornn import evaluation, figures, models, shards, tracking
from audiornn.files import write_json
from audiornn.params import Params
from stages.common import WORKSPACE, run

MODEL, SHARDS, HISTORY, CURVES = Path("models"), Path("data/shard"), Path("metrics/history.csv"), "figures/curves.png"


def main(p: Params) -> None:
    model = models.load(MODEL)
    scores = evaluation.evaluate(model, SHARDS, p.evaluate.batch)
    with open(HISTORY, encoding="utf-8") as file:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    entropy = shards.read_manifest(SHARDS)["encode_metrics"]["code_entropy_bits"]
    figures.save(figures.curves(history, entropy), CURVES)
    write_json("metrics/evaluate.json", scores)
    log = tracking.reopen(WORKSPACE, MODEL)
    log.metrics({f"{part}.{key}": value for part, values in scores.items() for key, value in values.items()})
    log.artifact(CURVES, "figures")
    for part, values in scores.items():
        print(
            f"{part}: {values['bits_per_sample']:.3f} bits per sample, {values['accuracy']:.1%} right, "
            f"{values['top5_accuracy']:.1%} among the five likeliest"
        )


if __name__ == "__main__":
    run(main)
