"""Colours of all figures, and writing them as PNG."""

from pathlib import Path
from typing import BinaryIO

import matplotlib
from matplotlib.figure import Figure

from audiornn.common.files import atomic_file

matplotlib.use("Agg")
# Palette for colour-blind readers (Okabe & Ito)
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, atomically and reproducibly."""
    with atomic_file(path) as partial:
        write(figure, partial)


def write(figure: Figure, file: Path | BinaryIO, dpi: int = 120) -> None:
    """Write a figure as PNG to a path or an open file; the same figure gives the same bytes each time."""
    figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
