#!/usr/bin/env python3
"""Whether a longer training context helps: models of a sweep of `shard.context`, scored on the same targets.

    python benchmarks/contexts.py WORKSPACE SWEEP [--csv FILE] [--folders]

The test loss of a run is that of its own windows: at a context of 8000 the first second of each recording holds no
target, and shorter recordings none at all. Here all models of a sweep, an MLflow run with children such as `hour`, are
scored on the test targets that have the longest context of the sweep before them, and each hears all of the recording
up to a target. The split of recordings does not depend on the context, so none of them was trained on.

The table has means over the seeds of each context, with standard errors, and the difference from the longest context;
it counts as real where it exceeds twice its error. --folders prints context, seed and folder of each model, for
benchmarks/listening.py.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.entities import Run

from audiornn import params
from audiornn.dataset import split
from audiornn.dataset.windows import WindowLayout
from audiornn.evaluation import per_code
from audiornn.models import storage
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.tracking.models import registry
from audiornn.tracking.store import client_of
from audiornn.tracking.tags import PARENT_TAG


def children(workspace: Path, sweep: str) -> list[Run]:
    """The finished runs of a named experiment, the latest if there are several of that name."""
    client = client_of(workspace)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    parents = client.search_runs(experiments, f"tags.sweep = '{sweep}'", order_by=["start_time DESC"], max_results=1)
    if not parents:
        raise SystemExit(f"error: {workspace}: no experiment {sweep} in its store; audiornn experiment {sweep} runs it")
    found = client.search_runs(experiments, f"tags.`{PARENT_TAG}` = '{parents[0].info.run_id}'")
    return [run for run in found if run.info.status == "FINISHED"]


def test_recordings(workspace: Path, settings: params.Shard, context: int) -> list[np.ndarray]:
    """Codes of the recordings of the test split that are longer than the context."""
    corpus = EncodedCorpus(workspace / "data/encode")
    lengths = {name: recording.codes for name, recording in corpus.recordings.items()}
    splits, _ = split.divide(lengths, settings.validation, settings.test, context, settings.seed)
    return [corpus.open(piece.recording)[piece.start : piece.stop] for piece in splits["test"]]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("sweep")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--folders", action="store_true")
    arguments = parser.parse_args()
    runs = children(arguments.workspace, arguments.sweep)
    if arguments.folders:
        for run in runs:
            folder = registry.model_folder(arguments.workspace, run.info.run_id)
            print(run.data.params["shard.context"], run.data.params["train.seed"], folder)
        return
    logged = runs[0].data.params
    shares = {key: float(logged[f"shard.{key}"]) for key in ("validation", "test")}
    settings = params.Shard(**shares, seed=int(logged["shard.seed"]))
    longest = max(int(run.data.params["shard.context"]) for run in runs)
    recordings = test_recordings(arguments.workspace, settings, longest)
    layout = WindowLayout(longest, 4 * longest, 4 * longest)
    rows = []
    for run in runs:
        model = storage.load(registry.model_folder(arguments.workspace, run.info.run_id))
        scores = per_code.evaluate_codes(model, recordings, layout).scores
        row = {
            "context": int(run.data.params["shard.context"]),
            "seed": int(run.data.params["train.seed"]),
            "run": run.info.run_id,
            "bits_per_sample": scores["bits_per_sample"],
            "accuracy": scores["accuracy"],
            "own_test_bits": run.data.metrics["test.bits_per_sample"],
            "training_seconds": run.data.metrics["training_seconds"],
        }
        rows.append(row)
        print(f"context {row['context']}, seed {row['seed']}: {row['bits_per_sample']:.4f} bits per sample", flush=True)
    table = pd.DataFrame(rows).sort_values(["context", "seed"])
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
    groups = table.groupby("context")
    summary = groups[["bits_per_sample", "accuracy", "own_test_bits", "training_seconds"]].mean()
    summary["standard_error"] = groups["bits_per_sample"].sem()
    last = summary.iloc[-1]
    summary["difference"] = summary["bits_per_sample"] - last["bits_per_sample"]
    summary["difference_error"] = np.hypot(summary["standard_error"], last["standard_error"])
    targets = sum(max(0, len(codes) - longest) for codes in recordings)
    print(f"{targets:,} targets of {len(recordings)} test recordings, each after at least {longest} codes")
    print(summary.round(4).to_string())


if __name__ == "__main__":
    main()
