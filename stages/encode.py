"""Encode the recordings as µ-law codes; measure the quantisation loss."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from audiornn.audio.resampling import ResampledManifest, ResampledRecording
from audiornn.codec import CodecSettings
from audiornn.codec_metrics import combined_metrics
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.params import Params
from audiornn.preparation import encoded, encoding
from audiornn.reuse.packs import Packs, Piece
from stages.common import WORKSPACE, run

INPUT, OUTPUT = Path("data/resample"), Path("data/encode")
EncodedPacks = Packs[encoding.Source, encoding.EncodedCodes]
PAYS_FROM = 3600.0  # seconds of audio from which on more than one core pays


def main(p: Params) -> None:
    resampled = parse(ResampledManifest, read_json(INPUT / "manifest.json"), INPUT / "manifest.json")
    codec = CodecSettings(resampled.sample_rate, resampled.highpass_hz, p.encode.preemphasis)
    encoded_packs: EncodedPacks = Packs(
        "encode", OUTPUT, WORKSPACE, encoding.EncodedCodes, encoding.CODE, encoding.SUFFIX
    )
    members: dict[str, list[ResampledRecording]] = defaultdict(list)
    for recording in sorted(resampled.recordings, key=lambda recording: (recording.file, recording.start)):
        members[Path(recording.file).stem].append(recording)

    def piece(recording: ResampledRecording) -> Piece[encoding.Source, encoding.EncodedCodes]:
        path = str((INPUT / recording.file).absolute())
        source = encoding.Source(path, recording.start, recording.samples, recording.sha256, codec)
        key = encoded_packs.index.key(recording.sha256, asdict(codec))
        return Piece(source, key, recording.samples / codec.sample_rate)

    wanted = {name: [piece(recording) for recording in of_pack] for name, of_pack in members.items()}
    with atomic_folder(OUTPUT) as folder:
        results = encoded_packs.make(encoding.encode_pack, wanted, folder, "encode", PAYS_FROM)
        made: dict[str, encoding.EncodedCodes] = {}
        for name, of_pack in members.items():
            made |= {r.name: result for r, result in zip(of_pack, results[name], strict=True)}
        metrics = combined_metrics(codec.sample_rate, (made[r.name].measured() for r in resampled.recordings))
        recordings = [
            encoded.EncodedRecording(
                r.name,
                f"{Path(r.file).stem}{encoding.SUFFIX}",
                r.source,
                r.samples,
                made[r.name].sha256,
                made[r.name].clipped / max(r.samples, 1),
                r.start,
            )
            for r in resampled.recordings
        ]
        encoded.write_manifest(folder, codec, metrics, recordings)
    encoded_packs.close()
    write_json("metrics/encode.json", asdict(metrics))


if __name__ == "__main__":
    run(main)
