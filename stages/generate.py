"""Generate audio with the trained model, and compare it with the test split."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from audiornn import figures
from audiornn.audio.waves import WaveWriter
from audiornn.common.array_types import Codes, Counts, Wave
from audiornn.common.files import atomic_folder
from audiornn.common.serialization import read_json, write_json
from audiornn.common.validation import parse
from audiornn.common.waits import announced
from audiornn.dataset.manifest import read_manifest
from audiornn.diagnostics.reference import Reference
from audiornn.evaluation.code_statistics import code_counts, jensen_shannon_bits
from audiornn.generation import clips, prompts, sound_quality
from audiornn.generation.clips import Clip
from audiornn.models import storage
from audiornn.params import TEST_PROMPT, Params
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
    prompt = p.generate.prompt if p.generate.prompt in (None, TEST_PROMPT) else resolve(p.generate.prompt)
    codes = prompts.load(prompt, p.generate, model.codec, test)
    made, speed = clips.generate_clips(model, p.generate, codes, progress=True)
    reference = test.draw_codes(p.generate.seconds, p.generate.seed)
    real, _ = clips.decode(reference, reference[:0], model.codec)
    usual = np.array(manifest.splits["test"].code_counts)
    draw_figures(made, real, reference, usual, model.codec.sample_rate)
    with announced("comparing with the recordings"):
        diagnoses = clips.diagnose(made, Reference.of(test.decode_all(), model.codec.sample_rate))
    description = clips.describe(made, diagnoses)
    for i, clip in enumerate(made):
        description[clip.name] |= {
            "code_divergence": jensen_shannon_bits(usual, code_counts(clip.codes)),
            "prompt": "silence" if codes is None else hashlib.sha256(codes[i].tobytes()).hexdigest(),
            "seed": p.generate.seed,
        }
    write_clips(made, description, real, model.codec.sample_rate)
    measured = sound_quality.measure(model, p.generate, validation, progress=True)
    metrics: dict[str, float | None] = {
        "samples_per_second": speed,
        "real_time_factor": speed / model.codec.sample_rate / len(made),
        "code_divergence": jensen_shannon_bits(usual, sum(code_counts(clip.codes) for clip in made)),
        "real_code_divergence": jensen_shannon_bits(usual, code_counts(reference)),
        **measured.metrics(),
    }
    write_json(METRICS, metrics)
    for clip, diagnosis in zip(made, diagnoses, strict=True):
        print(f"{OUTPUT / clip.name}.wav: {clip.describe()}\n{diagnosis.describe()}")
    print(f"sound quality of {sound_quality.STREAMS} fixed clips: {measured.describe()}", flush=True)
    with mlflow_run:
        mlflow_run.log_metrics({f"generate.{key}": value for key, value in metrics.items()})
        mlflow_run.log_artifact(OUTPUT, "generated")
        for figure in (GENERATED, CODES_FIGURE):
            mlflow_run.log_artifact(figure, "figures")
        mlflow_run.log_artifact(METRICS, "metrics")
        mlflow_run.promote_if_better(bits)


def draw_figures(made: Sequence[Clip], real: Wave, reference: Codes, usual: Counts, sample_rate: int) -> None:
    """Draw the first clips of each temperature beside a real one, and how often they use each code."""
    first = {clip.title: clip for clip in reversed(made)}
    shown = [clip for clip in made if clip is first[clip.title]][: clips.MAX_PLOTTED]
    waves = {"real (test split)": real} | {clip.title: clip.wave for clip in shown}
    figures.save(figures.compare_audio(waves, sample_rate, f"Real and generated audio, {sample_rate} Hz"), GENERATED)
    counts = {f"real, {len(reference) / sample_rate:.3g} s": code_counts(reference)}
    counts |= {clip.title: code_counts(clip.codes) for clip in shown}
    counts = {f"{name} ({jensen_shannon_bits(usual, n):.3f} bits)": n for name, n in counts.items()}
    figures.save(figures.code_distributions(usual, counts), CODES_FIGURE)


def write_clips(made: Sequence[Clip], description: Mapping[str, object], real: Wave, sample_rate: int) -> None:
    """Write the clips, what was found about them, and a real one for comparison."""
    with atomic_folder(OUTPUT) as folder:
        for clip in made:
            clip.write(folder)
        write_json(folder / clips.DESCRIPTION, description)
        (folder / REAL_CLIP.parent).mkdir()
        with WaveWriter(folder / REAL_CLIP, sample_rate, "PCM_16") as writer:
            writer.write(real)


if __name__ == "__main__":
    run(main)
