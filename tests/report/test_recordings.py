"""Which recordings a run was made of, as the report and the MLflow run have them."""

import csv
from dataclasses import asdict

import pytest

from audiornn.audio.resampling import ResampledManifest, ResampledRecording
from audiornn.audio.waves import Reading
from audiornn.common.errors import AudioRNNError
from audiornn.common.serialization import write_json
from audiornn.corpus.scan import CorpusManifest, LeftOutFile, Recording
from audiornn.preparation import encoded
from audiornn.report import recordings
from tests.conftest import CODEC, CODEC_METRICS

ODD = b"odd-\xff.wav".decode("utf-8", "surrogateescape")


@pytest.fixture
def workspace(tmp_path):
    """What the stages leave of a good recording, one that is damaged, narrow, scaled and clipped, and two left out."""
    found = [
        Recording("good.wav", 8000, 1, 480_000, 60.0, "a" * 64),
        Recording("b.wav", 4000, 2, 120_000, 30.0, "b" * 64, Reading(gain=0.5), ("damaged; 30.0 of 40.0 s are used",)),
    ]
    left_out = [LeftOutFile("text.wav", "it is text"), LeftOutFile(ODD, "empty")]
    resampled = [
        ResampledRecording("good", "01.wav", 0, "good.wav", 480_000, 0.5, 1.0, "0" * 64),
        ResampledRecording("b", "01.wav", 480_000, "b.wav", 240_000, 1.0, 0.45, "1" * 64),
    ]
    data = tmp_path / "data"
    write_json(data / "corpus/manifest.json", asdict(CorpusManifest("recordings", 90.0, found, left_out)))
    write_json(data / "resample/manifest.json", asdict(ResampledManifest(8000, 20.0, resampled)))
    (data / "encode").mkdir()
    shares = [0.0, 0.0125]
    codes = [
        encoded.EncodedRecording(r.name, f"{r.name}.npy", r.path, 9, clipped_share=share)
        for r, share in zip(found, shares, strict=True)
    ]
    encoded.write_manifest(data / "encode", CODEC, CODEC_METRICS, codes)
    return tmp_path


def test_each_recording_is_listed_with_everything_known_about_it(workspace):
    listed = recordings.collect(workspace)
    good, noted, text, odd = listed.recordings
    assert good == recordings.ListedRecording("good.wav", True, 60.0, 8000, 1, 0.0, "")
    assert noted.notes == (
        "damaged; 30.0 of 40.0 s are used; scaled as a whole by 0.900, as resampling would exceed full scale; "
        "its upper band is empty: it has 4000 Hz, less than 8000; 1.25% of the samples are clipped after pre-emphasis"
    )
    assert (text.used, text.notes) == (False, "it is text")
    assert odd.path == r"odd-\udcff.wav"
    assert listed.noted == [noted] and listed.left_out == [text, odd]
    assert listed.metrics() == {"used": 2, "left_out": 2, "with_notes": 1, "minutes": 1.5, "clipped_share": 0.0}


def test_the_table_has_a_line_for_each_recording(workspace, tmp_path):
    recordings.collect(workspace).write(tmp_path / "recordings.csv")
    with open(tmp_path / "recordings.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["good.wav", "b.wav", "text.wav", r"odd-\udcff.wav"]
    assert [row["used"] for row in rows] == ["True", "True", "False", "False"]
    assert (rows[1]["clipped_share"], rows[2]["seconds"], rows[2]["notes"]) == ("0.0125", "", "it is text")


def test_a_missing_manifest_is_named(workspace):
    (workspace / "data/resample/manifest.json").unlink()
    with pytest.raises(AudioRNNError, match="data/resample/manifest.json: no such file: run dvc repro first"):
        recordings.collect(workspace)
