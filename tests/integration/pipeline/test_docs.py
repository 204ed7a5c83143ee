"""The Python of the documentation runs, page by page as in a notebook, where a model has been trained."""

import ast
import builtins
import importlib.util
import re
import textwrap

import numpy as np
import pytest
import soundfile as sf

from tests.helpers.pages import PAGES, name, text

pytestmark = pytest.mark.pipeline
RUN_BY_ANOTHER_TEST = {"docs/adding-a-model.md"}  # tests/models/test_adding_a_model.py


def blocks(page):
    """The blocks of Python of a page."""
    found = re.findall(r"^ *```python\n(.*?)^ *```", text(page), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


WITH_PYTHON = [page for page in PAGES if blocks(page) and name(page) not in RUN_BY_ANOTHER_TEST]


def imported(tree):
    """The top-level packages that a block imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def unknown(tree, namespace):
    """The names that a block uses, but neither it nor those before it define."""
    nodes = list(ast.walk(tree))
    known = {*namespace, *vars(builtins)}
    known |= {alias.asname or alias.name.split(".")[0] for node in nodes for alias in getattr(node, "names", [])}
    known |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - known


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A folder with all that the pipeline left, and a recording of the user's, in which files may be written."""
    workspace, _ = finished
    for path in workspace.root.iterdir():
        if path.name not in ("prompts", ".git", ".dvc"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "prompts").mkdir()
    sf.write(tmp_path / "prompts/mine.flac", 0.3 * np.sin(np.arange(22_050) / 10), 22_050)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, folder, capsys):
    namespace = {}
    for block in blocks(page):
        tree = ast.parse(block)
        if all(map(importlib.util.find_spec, imported(tree))):
            exec(compile(tree, name(page), "exec"), namespace)
        else:  # a notebook's package, which is no dependency
            assert not unknown(tree, namespace)


def test_pages_have_python():
    assert {"docs/usage.md", "docs/experiments-howto.md", "docs/elsewhere.md"} <= set(map(name, WITH_PYTHON))
