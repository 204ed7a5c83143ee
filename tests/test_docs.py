"""The documentation points at what exists: pages and their headings, files, names to import, targets of make."""

import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# The file that a reader of docs/adding-a-model.md adds, and the cache that Numba makes.
NOT_IN_GIT = {"audiornn/models/plain.py", "audiornn/__pycache__"}


def name(page):
    return page.relative_to(ROOT).as_posix()


@cache
def text(page):
    return page.read_text(encoding="utf-8")


@cache
def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```|^    .*?$", "", text(page), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page):
    """The anchors that headings get on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_pages_headings_and_pictures_that_exist(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme():
    seen, ahead = set(), [PAGES[0]]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        found = {(page.parent / path).resolve() for path in re.findall(r"\]\(([^)#\s]+\.md)", prose(page))}
        ahead += found - seen
    assert set(PAGES) <= seen


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_and_modules_that_a_page_names_exist(page):
    for path in re.findall(r"`((?:audiornn|stages|tests|benchmarks|experiments|docs|\.ci)/[\w./-]+)`", prose(page)):
        assert (ROOT / path).exists() or path in NOT_IN_GIT or "NAME" in path, path
    for path in re.findall(r"(?:python|pytest)(?: -\S+)* ((?:tests|benchmarks)/[\w/]+\.py)", text(page)):
        assert (ROOT / path).is_file(), path
    for module, attributes in re.findall(r"from (audiornn[\w.]*) import ([\w, ]+)", text(page)):
        for attribute in attributes.split(","):
            found = importlib.import_module(module)
            assert hasattr(found, attribute.strip()) or importlib.import_module(f"{module}.{attribute.strip()}")


def test_the_makefile_has_the_targets_that_pages_name():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:^    |`)make ([a-z-]+)", text(page), re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets
