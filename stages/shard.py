"""Split the recordings into training, validation and test; write their windows as TFRecord shards."""

from pathlib import Path

from audiornn.common.files import atomic_folder
from audiornn.common.serialization import write_json
from audiornn.dataset import split
from audiornn.dataset.windows import WindowLayout
from audiornn.params import Params
from audiornn.preparation import shard_writer
from audiornn.preparation.encoded import EncodedCorpus
from stages.common import peak_rss_mb, run, seconds

INPUT, OUTPUT = Path("data/encode"), Path("data/shard")


def main(p: Params) -> None:
    encoded = EncodedCorpus(INPUT)
    lengths = {name: recording.codes for name, recording in encoded.recordings.items()}
    splits, short = split.divide(lengths, p.shard.validation, p.shard.test, p.shard.context, p.shard.seed)
    if short:
        print(
            f"{len(short)} recordings have no target: they are not longer than shard.context, {p.shard.context} codes"
        )
    with atomic_folder(OUTPUT) as folder:
        manifest = shard_writer.write(
            folder,
            {name: encoded.locate(name) for name in encoded.recordings},
            splits,
            WindowLayout.with_defaults(p.shard.context, p.shard.targets_per_window, p.shard.stride),
            encoded.codec,
            encoded.metrics,
            too_short=short,
            megabytes=p.shard.megabytes,
            seed=p.shard.seed,
        )
    written = manifest.splits.values()
    targets, size = sum(of_split.targets for of_split in written), sum(of_split.bytes for of_split in written)
    metrics = {
        "targets": targets,
        "windows": sum(of_split.windows for of_split in written),
        "bytes": size,
        "bytes_per_target": size / targets,
        "seconds": seconds(),
        "peak_rss_mb": peak_rss_mb(),
    }
    write_json("metrics/shard.json", metrics)


if __name__ == "__main__":
    run(main)
