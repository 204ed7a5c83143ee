"""Divide the recordings into training, validation and test; write their windows as TFRecord shards."""

from pathlib import Path

import numpy as np

from audiornn.dataset import shards, split
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.params import Params
from stages.common import peak_rss_mb, run, seconds

INPUT, OUTPUT = Path("data/encode"), Path("data/shard")


def main(p: Params) -> None:
    encoded = read_json(INPUT / "manifest.json")
    lengths = {r["name"]: r["codes"] for r in encoded["recordings"]}
    codes = {r["name"]: np.load(INPUT / r["file"], mmap_mode="r") for r in encoded["recordings"]}
    parts, short = split.split(lengths, p.shard.validation, p.shard.test, p.shard.context, p.shard.seed)
    if short:
        print(f"{len(short)} recordings hold no target: they are no longer than shard.context, {p.shard.context} codes")
    extra = {"codec": encoded["codec"], "encode_metrics": encoded["metrics"], "too_short": short}
    with atomic_folder(OUTPUT) as folder:
        layout = {"context": p.shard.context, "span": p.shard.targets, "shift": p.shard.step}
        manifest = shards.write(
            folder, codes, parts, **layout, megabytes=p.shard.megabytes, seed=p.shard.seed, extra=extra
        )
    described = manifest["parts"].values()
    targets, size = (sum(part[key] for part in described) for key in ("targets", "bytes"))
    metrics = {
        "targets": targets,
        "windows": sum(part["windows"] for part in described),
        "bytes": size,
        "bytes_per_target": size / targets,
        "seconds": seconds(),
        "peak_rss_mb": peak_rss_mb(),
    }
    write_json("metrics/shard.json", metrics)


if __name__ == "__main__":
    run(main)
