"""A memorised recording is generated from memory: training, prompts, state and generation fit together."""

import numpy as np
import soundfile
import soxr

from audiornn import codec
from audiornn.corpus.synthetic import speech as speech_module
from audiornn.generation import sampling
from audiornn.params import Train
from audiornn.training import trainer

RATE = 8000
SECONDS, PROMPT = 1, 0.25


def speech(folder):
    """Codes of a second of synthesised speech."""
    for path in speech_module.voices(folder, 0.4):
        wave, rate = soundfile.read(path)
        if len(wave) >= SECONDS * rate:
            return codec.encode(soxr.resample(wave, rate, RATE)[: SECONDS * RATE])
    raise AssertionError("no recording is long enough")


def test_a_memorised_recording_is_continued_from_its_beginning(make_shards, tmp_path):
    codes = speech(tmp_path)
    assert len(np.unique(codes)) > 200  # speech, not silence
    # One window: every code is learned in the state that it will be generated in.
    folder = make_shards({"a": codes}, 1, len(codes) - 1)
    params = Train.model_validate(
        {
            "model": {"name": "samplernn", "dense": 512, "lookback": 32},
            "epochs": 15,
            "validate_every_steps": 10_000,
            "batch_size": 1,
            "chunk": 400,
            "learning_rate": 0.003,
            "weight_decay": 0.0,
            "divergence_bits": 8.0,
        }
    )
    model, _ = trainer.train(folder, tmp_path / "model", params, progress=False)
    right = model(codes[None, :-1]).numpy()[0].argmax(-1) == codes[1:]
    assert right.mean() > 0.99

    heard = int(PROMPT * RATE)
    made = sampling.generate(model, len(codes) - heard, [0.0], prompt=codes[None, :heard])[0]
    agrees = made == codes[heard:]
    curve = [float(part.mean()) for part in np.array_split(agrees, 3)]  # a quarter of a second each
    print("accuracy", right.mean(), "agreement by quarter of a second:", *(f"{share:.3f}" for share in curve))
    assert agrees[: RATE // 2].all(), f"the first disagreement is after {np.argmin(agrees) / RATE:.3f} s"
