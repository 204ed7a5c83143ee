"""The peers of the speech task are what was measured, and generate what they were trained to predict."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiornn import codec

torch = pytest.importorskip("torch")
spec = importlib.util.spec_from_file_location("peers", Path(__file__).parents[2] / "benchmarks" / "peers.py")
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)


def test_steps_are_the_parallel_form():
    differences = peers.check()
    assert differences.keys() == peers.PEERS.keys()
    assert max(differences.values()) < 1e-4


def test_the_codec_is_that_of_the_project():
    wave = np.random.default_rng(0).uniform(-1, 1, 5000)
    codes = peers.encode(wave)
    np.testing.assert_array_equal(codes, codec.encode(wave))
    np.testing.assert_allclose(peers.decode(codes), codec.decode(codes), atol=1e-12)


def test_each_stream_draws_with_its_own_settings():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2] + [1e-9] * 253]).repeat(4, 1))
    temperature, top_p = torch.tensor([1, 1, 1, 0.01]), torch.tensor([1, 0.7, 0.4, 1])
    uniforms = np.linspace(0, 1, 1000, endpoint=False, dtype=np.float32)
    drawn = np.stack([peers.draw(logits, temperature, top_p, torch.full([4], float(u))).numpy() for u in uniforms])
    shares = [[np.mean(drawn[:, stream] == code) for code in range(3)] for stream in range(4)]
    expected = [[0.5, 0.3, 0.2], [0.625, 0.375, 0], [1, 0, 0], [1, 0, 0]]
    np.testing.assert_allclose(shares, expected, atol=0.002)


def test_prompts_are_not_silent():
    rng = np.random.default_rng(0)
    wave = np.concatenate([rng.normal(0, 0.1 if second % 3 else 1e-4, 8000) for second in range(12)])
    found = peers.prompts(peers.encode(wave), 4, 8000)
    assert found.shape == (4, 8000)
    assert all(len(np.unique(prompt)) > 50 for prompt in found)
    with pytest.raises(SystemExit, match="9 prompts"):
        peers.prompts(peers.encode(wave), 9, 8000)


def test_a_peer_is_trained_scored_kept_and_heard(tmp_path, monkeypatch, capsys):
    speech = tmp_path / "speech"
    (speech / "silence").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(10):
        sf.write(speech / f"{index}.wav", rng.normal(0, 0.1, 20000), 8000)
    sf.write(speech / "silence" / "1.wav", np.zeros(8000), 8000)

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["peers.py", str(speech), "--peer", "samplernn", "--threads", "1", *options])
        peers.main()
        return json.loads(capsys.readouterr().out)

    monkeypatch.setitem(peers.PEERS, "samplernn", peers.Peer(lambda: peers.SampleRNN(units=16, embedding=8), 2, 256))
    trained = run("--cpu-seconds", "0.2", "--output", str(tmp_path / "kept"), "--json", str(tmp_path / "row.json"))
    assert trained == json.loads((tmp_path / "row.json").read_text())
    assert 4 < trained["test_bits"] < 9
    weights = ["--weights", str(tmp_path / "kept" / "weights.pt")]
    assert run(*weights)["test_bits"] == trained["test_bits"]

    sizes = ["--prompts", "2", "--seeds", "2", "--seconds", "0.05", "--prompt-seconds", "0.1"]
    heard = run(*weights, *sizes, "--generate", str(tmp_path / "clips"), "--temperature", "1,0.9", "--top-p", "1,0.98")
    assert heard["generation"]["streams"] == 16
    folders = sorted((tmp_path / "clips").iterdir())
    assert [folder.name for folder in folders] == [
        f"samplernn-{s}" for s in ("t0.9-p0.98", "t0.9-p1", "t1-p0.98", "t1-p1")
    ]
    clips = {}
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {f"prompt{p}-seed{s}.wav" for p in (0, 1) for s in (0, 1)}
        for path in folder.iterdir():
            assert sf.info(path).subtype == "PCM_16"
            wave, rate = sf.read(path)
            assert (rate, len(wave)) == (8000, 400)
            clips[wave.tobytes()] = path
    assert len(clips) == 16
