"""The documentation is right: links, files, names to import, targets of make, commands and the parameters in them.

Its Python runs in tests/integration/pipeline/test_docs.py, where there are a model and an MLflow store.
"""

import importlib
import itertools
import re
import shlex
import tomllib
from functools import cache

import pytest
from dvc.cli.parser import get_main_parser

from audiornn.cli import parser
from audiornn.models import registry, storage
from audiornn.params import Params
from audiornn.provenance.overrides import flatten
from tests.helpers.pages import PAGES, ROOT, name, text

# The file that a reader of docs/adding-a-model.md adds, and the cache that Numba makes.
NOT_IN_GIT = {"audiornn/models/plain.py"}


@cache
def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```|^    .*?$", "", text(page), flags=re.MULTILINE | re.DOTALL)


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


def test_the_table_of_packages_has_the_layers_of_the_import_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = [set(layer.split(" | ")) for layer in contracts[0]["layers"]]
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## Packages")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [set(re.findall(r"`([a-z_]+)(?:/|\.py)`", row)) for row in rows] == layers


def test_the_makefile_has_the_targets_that_pages_name():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:^    |`)make ([a-z-]+)", text(page), re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


def commands(page):
    """The commands of a page as words: of its blocks, and of inline code with options or placeholders."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```|^    ([^\n]*)$", text(page), re.MULTILINE | re.DOTALL)
    lines = re.sub(r"\s*\\\n\s*", " ", "\n".join(map("".join, blocks))).splitlines()
    spans = [span.replace("\\|", "|") for span in re.findall(r"`((?:audiornn|dvc) [^`\n]*)`", prose(page))]
    for line in lines + [span for span in spans if re.search(" -| [A-Z]", span)]:
        line = re.sub(r"\s+#.*|\s+$", "", line.strip())
        if not re.search(r"\b(audiornn|dvc)( |$)", line) or "  " in line or line.count("'") % 2:
            continue  # rows of tables have wide spaces, pieces of scripts open quotes
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        for start, word in enumerate(words):
            if word in ("audiornn", "dvc") and (not start or words[start - 1] in CHAINS):
                yield list(itertools.takewhile(lambda word: not set(word) <= set("|&;><"), words[start:]))


CHAINS = ("&&", "|", ";", "do")
PARAMETERS = {key for key, _ in flatten(Params().model_dump())}
PARAMETERS |= {f"train.model.{size}" for name in registry.REGISTRY for size in storage.complete(name, {})}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_of_a_page_are_accepted_and_the_parameters_that_they_set_exist(page):
    for program, *words in commands(page):
        try:
            arguments = (get_main_parser() if program == "dvc" else parser()).parse_args(words)
        except SystemExit as stopped:
            assert stopped.code == 0, (program, *words)
            continue
        for override in getattr(arguments, "set_param", None) or []:
            assert override.split("=")[0] in PARAMETERS | {"train.model"}, override


def test_commands_are_found_in_blocks_in_tables_and_behind_others():
    found = {tuple(words[:3]) for page in PAGES for words in commands(page)}
    assert {("audiornn", "generate", "--stream"), ("audiornn", "experiment", "context"), ("dvc", "exp", "run")} <= found
    assert len(found) > 30
