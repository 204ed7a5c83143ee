"""A run on one page: whole without a network, safe whatever is in it, and it says how to make the run again."""

import base64
import io
import json
import re
import subprocess
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile as sf
from matplotlib.figure import Figure
from matplotlib.image import imread

from audiornn import codec_metrics, figures
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import write_json
from audiornn.provenance import reproduction
from audiornn.provenance.reproduction import Reproduction
from audiornn.report import page as page_module
from audiornn.report.page import EmbeddedClip, Page, _rows_of_results
from audiornn.report.recordings import ListedRecording, RecordingsList
from audiornn.report.results import (
    DetailedScores,
    GenerationResults,
    Results,
    Scores,
    TrainingResults,
    ValidationScores,
    read_results,
)
from tests.helpers.html_page import NASTY, Parsed

RESULTS = Results(
    codec_metrics.CodecMetrics(snr_db=30.0, snr_high_db=30.0, clipped_share=0.0, code_entropy_bits=7.0),
    TrainingResults(parameters=1, steps=1, epochs=1, best_epoch=1, targets_per_second=1.0, diverged=False),
    Scores(
        ValidationScores(4.0), DetailedScores(4.0, accuracy=0.1, top5_accuracy=0.2, calibration_error=0.1, targets=9)
    ),
    GenerationResults(1.0, 1.0, 0.2, 0.1, 4.25, 0.85, distance_limit_db=5.0, findings=3, clips_with_findings=0.25),
    clips={},
)


@pytest.fixture
def page(tmp_path):
    picture = tmp_path / "picture.png"
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    figures.save(figure, picture)
    sounds = []
    for i, seconds in enumerate((0.5, 2.0, 0.5, 0.5)):
        path = tmp_path / f"{i}.wav"
        sf.write(path, 0.3 * np.sin(np.arange(round(8000 * seconds)) * (i + 1) / 5), 8000)
        sounds.append(EmbeddedClip(f"{NASTY} {i}", path, ["a note", NASTY] if i else [], NASTY if i == 1 else ""))
    return Page(
        title=NASTY,
        run_id="0" * 32,
        results=[("Test loss", NASTY, "lower")],
        params={"corpus": {"path": NASTY, "synthetic": None}, "train": {"model": {"name": "linear"}}},
        reproduction=Reproduction(["git checkout abc", f"dvc exp run -S {NASTY}"], [NASTY]),
        pictures=dict.fromkeys(("curves", "context", "calibration", "passages", "generated", "codes"), picture),
        history=[{"epoch": "1", "train_loss": "4.5"}],
        context=[{"context": "1", "bits_per_sample": "8"}, {"context": "2", "bits_per_sample": "7"}],
        passages=sounds[:1],
        real=sounds[3],
        clips=sounds[1:3],
        omitted=5,
        recordings=RecordingsList([ListedRecording("a.wav", True, 60.0, 8000, 1, 0.0)], 1.0, 0.0),
        seconds=1.0,
    )


def decoded(uri, kind):
    prefix = f"data:{kind};base64,"
    assert uri.startswith(prefix)
    return io.BytesIO(base64.b64decode(uri.removeprefix(prefix), validate=True))


def test_everything_that_the_page_shows_is_in_it(page):
    text = page_module.render(page)
    html = Parsed(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link", re.sub('base64,[^"]*', "", text))
    assert html.all("script") == [{"type": "application/json"}, {}]
    pictures, players = html.all("img"), html.all("audio")
    assert len(pictures) == 6 + 3
    for attributes in pictures:
        assert np.ptp(imread(decoded(attributes["src"], "image/png"))) > 0.5
    assert len(players) == 4
    lengths = []
    for attributes in players:
        assert "controls" in attributes
        wave, rate = sf.read(decoded(attributes["src"], "audio/wav"))
        assert (rate, np.ptp(wave) > 0.5) == (8000, True)
        lengths.append(len(wave) / rate)
    assert sorted(lengths) == [0.5, 0.5, 0.5, 1.0], "two seconds were cut to one"


def test_text_is_escaped_wherever_it_comes_from(page):
    text = page_module.render(page)
    html = Parsed(text)
    assert text.count("<script") == 2  # the page's own
    assert html.text.count(NASTY) >= 8
    assert html.all("audio")[0]["aria-label"] == f"{NASTY} 3"


def test_the_page_is_accessible_and_has_a_dark_mode(page):
    text = page_module.render(page)
    html = Parsed(text)
    assert html.all("html") == [{"lang": "en"}]
    assert all(attributes.get("alt", "").strip() for attributes in html.all("img"))
    assert all(attributes["aria-label"] for attributes in html.all("audio"))
    assert all("scope" in attributes for attributes in html.all("th"))
    assert "prefers-color-scheme: dark" in text
    places = {attributes["id"] for _, attributes in html.tags if "id" in attributes}
    assert {attributes["href"].removeprefix("#") for attributes in html.all("a")} == places
    levels = [int(tag[1]) for tag, _ in html.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.slow
def test_the_page_lists_findings_and_omitted_clips(page):
    text = Parsed(page_module.render(page)).text
    assert "Nothing abnormal." in text
    assert "Found:" in text
    assert "5 more clips" in text
    assert "train.model.name" in text
    assert "null" in text
    none = Parsed(page_module.render(replace(page, clips=[], omitted=0))).text
    assert "more clips" not in none


@pytest.mark.slow
def test_the_same_page_is_the_same_bytes(page):
    assert page_module.render(page) == page_module.render(page)


@pytest.mark.slow
def test_of_ten_thousand_recordings_some_with_notes_are_named_and_the_rest_counted(page):
    used = [ListedRecording(f"{i}.wav", True, 1.0, 8000, 1, 0.0, "damaged" * (i < 150)) for i in range(9_000)]
    left_out = [ListedRecording(f"no-{i}.wav", False, notes="empty") for i in range(1_000)]
    text = page_module.render(replace(page, recordings=RecordingsList(used + left_out, 150.0, 0.001)))
    shown = Parsed(text).text
    assert all(sum_ in shown for sum_ in ("9,000", "150.0 minutes", "1,000", "0.100%"))
    assert shown.count("damaged") == 100 + 1  # and once among the reasons
    assert shown.count("no-") == 100
    assert "And 50 more" in shown and "And 900 more" in shown
    assert len(text) < len(page_module.render(page)) + 700_000
    searched = json.loads(Parsed(text).scripts[0])
    assert len(searched) == 10_000
    assert ["0.wav", True, 1.0, 8000, 1, "damaged"] in searched
    assert ["no-999.wav", False, None, None, None, "empty"] in searched


@pytest.mark.slow
def test_the_search_of_a_page_is_bounded_and_says_so(page, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_SEARCHED", 10)
    used = [ListedRecording(f"{i}.wav", True, 1.0, 8000, 1, 0.0) for i in range(1_499)]
    listed = [*used, ListedRecording("broken.mp3", False, notes="not readable")]
    html = Parsed(page_module.render(replace(page, recordings=RecordingsList(listed, 25.0, 0.0))))
    searched = json.loads(html.scripts[0])
    assert len(searched) == 10
    assert searched[0][0] == "broken.mp3"  # what one looks for first
    assert (
        "This searches 10 recordings; the other 1,490 are in data/recordings.csv in the run's artifacts." in html.text
    )


def test_names_and_notes_of_recordings_are_escaped(page):
    nasty = [ListedRecording(NASTY, True, 1.0, 8000, 1, 0.0, NASTY), ListedRecording(NASTY, False, notes=NASTY)]
    html = Parsed(page_module.render(replace(page, recordings=RecordingsList(nasty, 1.0, 0.0))))
    assert len(html.all("script")) == 2
    assert json.loads(html.scripts[0])[1] == [NASTY, True, 1.0, 8000, 1, NASTY]
    assert html.text.count(NASTY) >= 12


@pytest.mark.parametrize(
    ("distance", "said"), [(4.25, "4.2 dB (0.85 × limit)"), (None, "silent")], ids=["audible", "silent"]
)
def test_how_the_model_sounds_is_among_the_results(distance, said):
    ratio = distance and distance / 5
    made = GenerationResults(
        1.0, 1.0, 0.2, 0.1, distance, ratio, distance_limit_db=5.0, findings=3, clips_with_findings=0.25
    )
    results = replace(RESULTS, generation=made)
    shown = {name: (value, explanation) for name, value, explanation in _rows_of_results(results)}
    assert shown["Distance from real audio"] == (
        said,
        "mean over a fixed set of clips; the limit for real audio is 5.0 dB",
    )
    assert shown["Clips with findings"] == ("25%", "of the same set; findings: 3")
    verdict, expectation = shown["Sound"]
    assert verdict == ("acceptable" if distance else "not acceptable yet")
    assert ("train longer" in expectation) == (distance is None)


def test_missing_numbers_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("{}")
    with pytest.raises(AudioRNNError, match="metrics/encode.json: no such file"):
        page_module.collect(tmp_path, "0" * 32)


def test_results_with_a_missing_entry_are_named_with_it(tmp_path):
    files = {
        "metrics/encode.json": asdict(RESULTS.codes),
        "metrics/train.json": asdict(RESULTS.training),
        "metrics/evaluate.json": asdict(RESULTS.scores),
        "metrics/generate.json": asdict(RESULTS.generation),
        "generated/clips.json": {},
    }
    for name, content in files.items():
        write_json(tmp_path / name, content)
    assert read_results(tmp_path) == RESULTS
    for name, key, value in (("evaluate", "test", {}), ("train", "steps", "many"), ("generate", "findings", None)):
        write_json(tmp_path / f"metrics/{name}.json", files[f"metrics/{name}.json"] | {key: value})
        with pytest.raises(AudioRNNError, match=rf"metrics/{name}\.json: (has no entry {key}|{key} is)"):
            read_results(tmp_path)
        write_json(tmp_path / f"metrics/{name}.json", files[f"metrics/{name}.json"])


# --- The commands that make a run again --------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    (tmp_path / "params.yaml").write_text("shard: {context: 8}\ntrain: {epochs: 3}\n")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    return tmp_path, git


def test_a_run_of_a_commit_is_reproduced_by_two_commands(repository, monkeypatch):
    root, git = repository
    first = git("rev-parse", "HEAD")
    params = {"shard": {"context": 8}, "train": {"epochs": 3}}
    assert reproduction.reproduction(root, params) == Reproduction([f"git checkout {first}", "dvc repro"], [])
    params["train"] = {"epochs": None, "steps": 9}
    (root / "params.yaml").write_text(json.dumps(params))
    changed = f"git checkout {first}", "dvc exp run -S train.epochs=null -S ++train.steps=9"
    assert reproduction.reproduction(root, params).commands == list(changed)
    (root / "code.py").write_text("a = 2\n")
    assert reproduction.reproduction(root, params).missing == ["Files that differed from the commit: code.py."]
    git("commit", "-qam", "two")
    assert reproduction.reproduction(root, params).commands == [f"git checkout {git('rev-parse', 'HEAD')}", "dvc repro"]
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", first)  # in an experiment: commits of DVC's own come and go
    assert reproduction.reproduction(root, params).commands == list(changed)


def test_a_run_without_a_commit_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = reproduction.reproduction(tmp_path, {})
    assert found.commands == ["dvc repro"]
    assert "not recorded" in found.missing[0]
