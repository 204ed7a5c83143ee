"""A model trained on a sine generates a sine: training, engines, prompts and decoding fit together."""

import numpy as np
import pytest

from audiornn import codec
from audiornn.generation import engines, sampling
from audiornn.params import ModelParams, Train
from audiornn.training import trainer


def check_engines_on_a_trained_model(trained, codes):
    """Engines have the logits of the parallel form, with and without a prompt, for one stream and for seven."""
    for streams in (1, 7):
        expected = trained(codes[:streams]).numpy()
        for name in ("tensorflow", "fused"):
            runner = engines.create_engine(trained, name)
            for before in (1, 800):
                runner.load_state(*sampling.prefill(trained, codes[:streams, :before]))
                logits = runner.teacher_force(codes[:streams, before : before + 3000])
                np.testing.assert_allclose(logits, expected[:, before : before + 3000], atol=1e-4, err_msg=name)


def test_a_model_trained_on_a_sine_continues_it(make_shards, tmp_path, sine_codes):
    folder = make_shards({"a": sine_codes}, 128, 512)
    params = Train(
        model=ModelParams(name="audiornn", dense=32, units=48, layers=1),
        epochs=30,
        batch_size=4,
        learning_rate=0.01,
        warmup_steps=5,
        patience=30,
    )
    trained, result = trainer.train(folder, tmp_path / "m", params, progress=False)
    check_engines_on_a_trained_model(trained, np.stack([np.roll(sine_codes[:4000], -7 * i)[:3801] for i in range(7)]))
    codes = sampling.generate(trained, 16_000, [0.0], prompt=sine_codes[None, :800])[0]
    wave = codec.decode(codes, 0.95)[200:]
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17))
    frequency = np.argmax(spectrum) * 8000 / (1 << 17)
    assert frequency == pytest.approx(440, abs=2), f"after {result.best_validation:.2f} bits"
    level = [np.sqrt(np.mean(part**2)) for part in np.array_split(wave, 4)]
    assert min(level) > 0.5 * 0.5 / np.sqrt(2)  # it holds to the end
    assert max(level) < 2.0 * 0.5 / np.sqrt(2)
