"""Generate audio with the trained model, and compare it with the test split."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from audiornn import figures
from audiornn.audio.waves import WaveWriter
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.common.waits import announced
from audiornn.dataset.manifest import read_manifest
from audiornn.diagnostics.reference import Reference
from audiornn.evaluation import code_statistics
from audiornn.generation import clips, prompts, sound_quality
from audiornn.models import storage
from audiornn.params import Params
from audiornn.preparation.encoded import EncodedCorpus
from audiornn.preparation.recordings import REAL_CLIP, SplitRecordings
from audiornn.tracking import runs
from stages.common import WORKSPACE, resolve, run

MODEL, ENCODED, SHARDS, OUTPUT = Path("models"), Path("data/encode"), Path("data/shard"), Path("generated")
GENERATED, CODES_FIGURE, METRICS = "figures/generated.png", "figures/codes.png", "metrics/generate.json"
SCORES = "metrics/evaluate.json"


@dataclass(frozen=True)
class Validation:
    """The score of the validation split."""

    bits_per_sample: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Scores:
    """What is read of the file of scores."""

    validation: Validation


def main(p: Params) -> None:
    mlflow_run = runs.reopen(WORKSPACE, MODEL)  # first of all, as the tracking server may not be there
    bits = parse(Scores, read_json(SCORES), SCORES).validation.bits_per_sample
    model = storage.load(MODEL)
    encoded, manifest = EncodedCorpus(ENCODED), read_manifest(SHARDS)
    test, validation = (SplitRecordings(encoded, manifest, split) for split in ("test", "validation"))
    rate = model.codec.sample_rate
    prompt = p.generate.prompt if p.generate.prompt in (None, prompts.TEST) else resolve(p.generate.prompt)
    codes = prompts.load(prompt, p.generate, model.codec, test)
    made, speed = clips.generate_clips(model, p.generate, codes, progress=True)
    reference = test.draw_codes(p.generate.seconds, p.generate.seed)
    real, _ = clips.decode(reference, reference[:0], model.codec)
    first = {clip.title: clip for clip in reversed(made)}  # at each temperature
    shown = {clip.title: clip for clip in made if clip is first[clip.title]}
    shown = dict(list(shown.items())[: clips.MAX_PLOTTED])
    waves = {"real (test split)": real} | {title: clip.wave for title, clip in shown.items()}
    figures.save(figures.compare_audio(waves, rate, f"Real and generated audio, {rate} Hz"), GENERATED)
    usual = np.array(manifest.splits["test"].code_counts)
    counts = {f"real, {len(reference) / rate:.3g} s": code_statistics.code_counts(reference)}
    counts |= {title: code_statistics.code_counts(clip.codes) for title, clip in shown.items()}
    counts = {f"{name} ({code_statistics.jensen_shannon_bits(usual, n):.3f} bits)": n for name, n in counts.items()}
    figures.save(figures.code_distributions(usual, counts), CODES_FIGURE)
    metrics: dict[str, float | None] = {
        "samples_per_second": speed,
        "real_time_factor": speed / rate / len(made),
        "code_divergence": code_statistics.jensen_shannon_bits(
            usual, sum(code_statistics.code_counts(clip.codes) for clip in made)
        ),
        "real_code_divergence": code_statistics.jensen_shannon_bits(usual, code_statistics.code_counts(reference)),
    }
    with announced("comparing with the recordings"):
        diagnoses = clips.diagnose(made, Reference.of(test.decode_all(), rate))
    described = clips.describe(made, diagnoses)
    for i, clip in enumerate(made):
        described[clip.name] |= {
            "code_divergence": code_statistics.jensen_shannon_bits(usual, code_statistics.code_counts(clip.codes)),
            "prompt": "silence" if codes is None else hashlib.sha256(codes[i].tobytes()).hexdigest(),
            "seed": p.generate.seed,
        }
    with atomic_folder(OUTPUT) as folder:
        for clip in made:
            clip.write(folder)
        write_json(folder / clips.DESCRIPTION, described)
        (folder / REAL_CLIP.parent).mkdir()
        with WaveWriter(folder / REAL_CLIP, rate, "PCM_16") as writer:
            writer.write(real)
    measured = sound_quality.measure(model, p.generate, validation, progress=True)
    metrics |= measured.metrics()
    write_json(METRICS, metrics)
    for clip, diagnosis in zip(made, diagnoses, strict=True):
        print(f"{OUTPUT / clip.name}.wav: {clip.describe()}\n{diagnosis.describe()}")
    print(f"sound quality of {sound_quality.STREAMS} fixed clips: {measured.describe()}", flush=True)
    with mlflow_run:
        mlflow_run.log_metrics({f"generate.{key}": value for key, value in metrics.items()})
        for artifact, folder_name in (
            (OUTPUT, "generated"),
            (GENERATED, "figures"),
            (CODES_FIGURE, "figures"),
            (METRICS, "metrics"),
        ):
            mlflow_run.log_artifact(artifact, folder_name)
        mlflow_run.promote_if_better(bits)


if __name__ == "__main__":
    run(main)
