"""The pages of the documentation."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def name(page):
    return page.relative_to(ROOT).as_posix()


@cache
def text(page):
    return page.read_text(encoding="utf-8")
