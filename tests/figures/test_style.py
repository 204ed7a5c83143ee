"""Figures are written the same every time."""

from audiornn import figures
from tests.helpers.figures import HISTORY


def test_pictures_have_the_same_bytes_every_time(tmp_path):
    for name in ("a", "b"):
        figures.save(figures.curves(HISTORY), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
