"""The benchmark of memorising compares the model's continuation with the codes of the recording."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiornn.generation import sampling

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def memorising():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import memorising

        yield memorising
        sys.modules.pop("memorising")


def test_free_running_codes_are_compared_with_those_after_each_prompt(memorising, monkeypatch):
    codes = np.arange(16_001) // 63 % 256

    def generate(model, samples, temperature, prompt):
        assert temperature == [0.0, 0.0] and prompt.shape == (2, 4000)
        begins = [int(np.flatnonzero(codes[: len(codes) - 4000] == row[0])[0]) for row in prompt]
        made = np.stack([codes[begin + 4000 : begin + 4000 + samples] for begin in (0, 8000)])
        assert begins[0] == 0
        made[1, 1000:] += 1
        return made

    monkeypatch.setattr(sampling, "generate", generate)
    right = memorising.free_running(None, codes, [0, 8000])
    assert right.shape == (2, 4000)
    record = type("Record", (), {"step": 5, "epoch": 1, "validation_loss": 2.0, "validation_accuracy": 0.5})
    row = memorising.row_of(record, 1.5, right)
    assert (row["exact_seconds_mean"], row["exact_seconds_least"]) == ((0.5 + 0.125) / 2, 0.125)
    assert row["agreement_1"] == (4000 + 1000) / 8000 and "agreement_2" not in row


@pytest.mark.parametrize(
    ("codes", "targets", "expected"),
    [(64_001, 16_000, [0, 16_000, 32_000, 48_000]), (401, 130, [0, 130, 260]), (1000, 100, [0, 200, 500, 700])],
)
def test_prompts_begin_where_windows_of_training_do(memorising, codes, targets, expected):
    assert memorising.prompt_starts(np.zeros(codes), targets, 4) == expected


def test_the_curve_has_a_row_per_scoring_of_a_real_training(memorising, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).normal(0, 0.1, 4001)
    sf.write(tmp_path / "a.wav", noise, 8000)
    small = ["epochs=2", "model.units=8", "model.dense=8", "batch_size=2", "chunk=192"]
    command = ["x", str(tmp_path / "a.wav"), "--seconds", "0.5", "--prompts", "2", "--targets", "2000", "--every", "2"]
    silence = lambda model, samples, temperature, prompt: np.full((len(temperature), samples), 128, np.uint8)  # noqa: E731
    monkeypatch.setattr(sampling, "generate", silence)  # the engine would have to be compiled
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(tmp_path / "out"), "--set", *small])
    memorising.main()
    with open(tmp_path / "out/curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["11", "22"]
    assert 0 <= float(rows[-1]["accuracy"]) <= 1
    assert (tmp_path / "out/curve.png").exists() and (tmp_path / "out/continued.wav").exists()
