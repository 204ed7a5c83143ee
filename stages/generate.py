"""Generate audio with the trained model, beside real audio of the test part."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiornn import figures
from audiornn.audio.waves import WaveWriter
from audiornn.dataset import shards
from audiornn.dataset.recordings import REAL, Part
from audiornn.diagnostics.reference import Reference
from audiornn.evaluation import code_statistics
from audiornn.files import atomic_folder, read_json, write_json
from audiornn.generation import clips, sound_quality
from audiornn.generation.prompts import TEST, file_prompt
from audiornn.models import storage
from audiornn.params import Generate, Params
from audiornn.tracking import registry, runs
from stages.common import WORKSPACE, locate, run

MODEL, ENCODED, SHARDS, OUTPUT = Path("models"), Path("data/encode"), Path("data/shard"), Path("generated")
GENERATED, CODES, METRICS = "figures/generated.png", "figures/codes.png", "metrics/generate.json"
SCORES = "metrics/evaluate.json"


def prompts(p: Generate, source: Part) -> NDArray[np.uint8] | None:
    """Codes [clips, n] to continue."""
    streams = len(p.temperature) * p.count
    if p.prompt is None:
        return None
    if p.prompt == TEST:
        return source.prompts(streams, round(p.prompt_seconds * source.settings["sample_rate"]), p.seed)
    piece = file_prompt(locate(p.prompt), p.prompt_seconds, source.settings, p.prompt_offset)
    return np.repeat(piece[None], streams, axis=0)


def main(p: Params) -> None:
    model = storage.load(MODEL)
    source = Part(ENCODED, SHARDS, model.settings["codec"])
    rate = model.settings["codec"]["sample_rate"]
    made, speed = clips.make(model, p.generate, prompts(p.generate, source), progress=True)
    example = source.example(p.generate.seconds, p.generate.seed)
    real = clips.decode(example, example[:0], model.settings["codec"])[0]
    with atomic_folder(OUTPUT) as folder:
        for clip in made:
            clip.write(folder)
        (folder / REAL.parent).mkdir()
        with WaveWriter(folder / REAL, rate, "PCM_16") as writer:
            writer(real)
    first = {clip.title: clip for clip in reversed(made)}  # at each temperature
    shown = {clip.title: clip for clip in made if clip is first[clip.title]}
    shown = dict(list(shown.items())[: clips.SHOWN])
    waves = {"real (test part)": real} | {title: clip.wave for title, clip in shown.items()}
    figures.save(figures.compare_audio(waves, rate, f"Real and generated audio, {rate} Hz"), GENERATED)
    usual = np.array(shards.read_manifest(SHARDS)["parts"]["test"]["code_counts"])
    counts = {f"real, {len(example) / rate:.3g} s": code_statistics.count(example)}
    counts |= {title: code_statistics.count(clip.codes) for title, clip in shown.items()}
    counts = {f"{name} ({code_statistics.divergence(usual, n):.3f} bits)": n for name, n in counts.items()}
    figures.save(figures.code_distributions(usual, counts), CODES)
    metrics: dict[str, float | None] = {
        "samples_per_second": speed,
        "real_time_factor": speed / rate / len(made),
        "code_divergence": code_statistics.divergence(usual, sum(code_statistics.count(clip.codes) for clip in made)),
        "real_code_divergence": code_statistics.divergence(usual, code_statistics.count(example)),
    }
    diagnoses = clips.diagnose(made, Reference.of(source.waves(), rate))
    described = clips.describe(made, diagnoses)
    for clip in made:
        described[clip.name]["code_divergence"] = code_statistics.divergence(usual, code_statistics.count(clip.codes))
    measured = sound_quality.measure(model, p.generate, Part(ENCODED, SHARDS, model.settings["codec"], "validation"))
    metrics |= measured.metrics()
    write_json(METRICS, {**metrics, "clips": described})
    log = runs.reopen(WORKSPACE, MODEL)
    log.metrics({f"generate.{key}": value for key, value in metrics.items()})
    for artifact, place in ((OUTPUT, "generated"), (GENERATED, "figures"), (CODES, "figures"), (METRICS, "metrics")):
        log.artifact(artifact, place)
    for clip, diagnosis in zip(made, diagnoses, strict=True):
        print(f"{OUTPUT / clip.name}.wav: {clip.describe()}\n{diagnosis.describe()}")
    print(f"sound of {sound_quality.STREAMS} more clips: {measured.describe()}")
    print(registry.challenge(WORKSPACE, log.run_id, read_json(SCORES)["validation"]["bits_per_sample"]))


if __name__ == "__main__":
    run(main)
