"""Generate audio with the trained model, beside real audio of the test part."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiornn import clips, figures, models, tracking
from audiornn.files import atomic_folder, write_json
from audiornn.params import Generate, Params
from stages.common import WORKSPACE, locate, run

MODEL, ENCODED, SHARDS, OUTPUT = Path("models"), Path("data/encode"), Path("data/shard"), Path("generated")
FIGURE, METRICS = "figures/generated.png", "metrics/generate.json"


def prompts(p: Generate, source: clips.TestPart) -> NDArray[np.uint8] | None:
    """Codes [clips, n] to continue."""
    streams = len(p.temperature) * p.count
    if p.prompt is None:
        return None
    if p.prompt == clips.TEST:
        return source.prompts(streams, round(p.prompt_seconds * source.settings["sample_rate"]), p.seed)
    piece = clips.file_prompt(locate(p.prompt), p.prompt_seconds, source.settings, p.prompt_offset)
    return np.repeat(piece[None], streams, axis=0)


def main(p: Params) -> None:
    model = models.load(MODEL)
    source = clips.TestPart(ENCODED, SHARDS, model.settings["codec"])
    made, speed = clips.make(model, p.generate, prompts(p.generate, source), progress=True)
    with atomic_folder(OUTPUT) as folder:
        for clip in made:
            clip.write(folder)
    rate = model.settings["codec"]["sample_rate"]
    shown = {"real (test part)": source.example(p.generate.seconds, p.generate.seed)}
    for clip in made:  # the first at each temperature
        if len(shown) <= clips.SHOWN:
            shown.setdefault(clip.title, clip.wave)
    figures.save(figures.compare_audio(shown, rate, f"Real and generated audio, {rate} Hz"), FIGURE)
    metrics = {"samples_per_second": speed, "real_time_factor": speed / rate / len(made)}
    diagnoses = clips.diagnose(made, source)
    described = {}
    for clip, diagnosis in zip(made, diagnoses, strict=True):
        kinds = ", ".join(finding.kind for finding in diagnosis.findings)
        described[clip.name] = {**diagnosis.as_dict(), **clip.levels(), "findings": kinds or "none"}
    write_json(METRICS, {**metrics, "clips": described})
    log = tracking.reopen(WORKSPACE, MODEL)
    log.metrics({f"generate.{key}": value for key, value in metrics.items()})
    for artifact, place in ((OUTPUT, "generated"), (FIGURE, "figures"), (METRICS, "metrics")):
        log.artifact(artifact, place)
    for clip, diagnosis in zip(made, diagnoses, strict=True):
        print(f"{OUTPUT / clip.name}.wav: {clip.describe()}\n{diagnosis.describe()}")


if __name__ == "__main__":
    run(main)
