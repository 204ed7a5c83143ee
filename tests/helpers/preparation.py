"""The stages up to the codes, run in this process in a folder of their own."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import yaml

from audiornn import params
from audiornn.audio import packs
from audiornn.corpus import scan
from audiornn.preparation import encoding
from stages import corpus, encode, recordings, resample

ROOT = Path(__file__).parents[2]
RATE = 8000
FILES = 6  # in a workspace with recordings
STAGES = (recordings, corpus, resample, encode)


def record(path: Path, seed: int, seconds: float = 0.3) -> None:
    """Noise like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)), RATE)


def outputs(root: Path) -> dict[str, str]:
    """SHA-256 of what the stages left."""
    files = sorted(path for path in (root / "data").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass
class Preparation:
    """A workspace with recordings; `work` is what was done for them: the files that were examined, and so on."""

    root: Path
    monkeypatch: object
    work: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.root.mkdir(parents=True, exist_ok=True)
        settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        settings["corpus"]["path"] = "recordings"
        (self.root / "params.yaml").write_text(yaml.safe_dump(settings))

    def enter(self):
        """Make this the workspace of the stages."""
        self.monkeypatch.chdir(self.root)
        for module in (recordings, corpus, resample, encode, resample.resolve.__globals__):
            if isinstance(module, dict):
                self.monkeypatch.setitem(module, "WORKSPACE", self.root)
            else:
                self.monkeypatch.setattr(module, "WORKSPACE", self.root)

    def count(self, module, name):
        """Count calls of a function."""
        function, key = getattr(module, name), name.strip("_")

        def counted(*arguments):
            self.work[key] = self.work.get(key, 0) + 1
            return function(*arguments)

        self.monkeypatch.setattr(module, name, counted)

    def prepare(self, processes=False, stages=STAGES):
        """Run the stages: what was done, and what is there then; `processes`: on all cores, however little it is."""
        self.enter()
        self.work.clear()
        with self.monkeypatch.context() as patch:
            for module in (scan, resample, encode):
                patch.setattr(module, "PAYS_FROM", 0 if processes else float("inf"))
            if not processes:
                counting = Preparation.count
                inner, self.monkeypatch = self.monkeypatch, patch
                counting(self, scan, "examine")
                counting(self, packs, "resample_file")
                counting(self, encoding, "MeasuringEncoder")
                self.monkeypatch = inner
            for stage in stages:
                stage.main(params.load())
        return [self.work.get(name, 0) for name in ("examine", "resample_file", "MeasuringEncoder")], outputs(self.root)
