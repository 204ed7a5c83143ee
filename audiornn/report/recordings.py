"""The recordings of a run: sums, each one used or left out, and what to know of it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from audiornn.audio.resampling import ResampledManifest
from audiornn.common.files import atomic_file
from audiornn.common.serialization import read_json
from audiornn.common.validation import parse
from audiornn.corpus.scan import CorpusManifest
from audiornn.preparation.encoded import EncodedCorpus


@dataclass(frozen=True)
class ListedRecording:
    """A file of the corpus.

    `notes` say why it was left out, or what to know of it, such as that it is damaged, scaled or clipped; empty where
    there is nothing. What only used recordings have is None for others: `clipped_share`, 0 to 1, is of its samples
    after pre-emphasis.
    """

    path: str
    used: bool
    seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    clipped_share: float | None = None
    notes: str = ""


@dataclass(frozen=True)
class RecordingsList:
    """All recordings of a run, used ones first; `clipped_share` is of all samples together."""

    recordings: Sequence[ListedRecording]
    minutes: float
    clipped_share: float

    @property
    def left_out(self) -> list[ListedRecording]:
        """Files that are not used."""
        return [recording for recording in self.recordings if not recording.used]

    @property
    def noted(self) -> list[ListedRecording]:
        """Recordings that are used, with something to know of them."""
        return [recording for recording in self.recordings if recording.used and recording.notes]

    def metrics(self) -> dict[str, float]:
        """Sums by name."""
        return {
            "used": len(self.recordings) - len(self.left_out),
            "left_out": len(self.left_out),
            "with_notes": len(self.noted),
            "minutes": self.minutes,
            "clipped_share": self.clipped_share,
        }

    def write(self, path: str | Path) -> None:
        """Write all recordings as csv, a line each."""
        with atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(ListedRecording)])
            writer.writeheader()
            writer.writerows(asdict(recording) for recording in self.recordings)


def collect(root: str | Path) -> RecordingsList:
    """The recordings of a workspace, from what the stages corpus, resample and encode left.

    Raises
    ------
    AudioRNNError
        If one of their manifests is missing.
    """
    data = Path(root) / "data"
    found, resampled = data / "corpus/manifest.json", data / "resample/manifest.json"
    corpus = parse(CorpusManifest, read_json(found), found)
    encoded = EncodedCorpus(data / "encode")
    recordings = list(_used(corpus, parse(ResampledManifest, read_json(resampled), resampled), encoded))
    recordings += [ListedRecording(_text(file.path), False, notes=_text(file.reason)) for file in corpus.left_out]
    return RecordingsList(recordings, corpus.seconds / 60, encoded.metrics.clipped_share)


def _used(corpus: CorpusManifest, resampled: ResampledManifest, encoded: EncodedCorpus) -> Iterator[ListedRecording]:
    after_resampling = {recording.source: recording for recording in resampled.recordings}
    for recording in corpus.recordings:
        notes = list(recording.notes)
        if (gain := after_resampling[recording.path].gain / recording.reading.gain) != 1:
            notes.append(f"scaled as a whole by {gain:.3f}, as resampling would exceed full scale")
        if recording.rate < resampled.sample_rate:
            notes.append(f"its upper band is empty: it has {recording.rate} Hz, less than {resampled.sample_rate}")
        if clipped := encoded.recordings[recording.name].clipped_share:
            notes.append(f"{clipped:.2%} of the samples are clipped after pre-emphasis")
        yield ListedRecording(
            path=_text(recording.path),
            used=True,
            seconds=round(recording.seconds, 3),
            sample_rate=recording.rate,
            channels=recording.channels,
            clipped_share=clipped,
            notes=_text("; ".join(notes)),
        )


def _text(text: str) -> str:
    """Text that UTF-8 can hold: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()
