"""A logged model names the packages that it needs where it is served."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from audiornn.tracking.models.logged_model import REQUIREMENTS

LOADED = """
import sys
import audiornn.serving
from audiornn.generation import clips, prompts
from audiornn.models import storage
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] == "audiornn" and getattr(module, "__file__", None):
        print(module.__file__)
"""
BROUGHT_ALONG = {"keras": "tensorflow", "llvmlite": "numba"}  # packages that come with another one


def imported(source):
    """The packages that a module imports when it is loaded."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return {name.split(".")[0] for name in found}


@pytest.mark.slow
def test_a_served_model_requires_every_package_that_its_code_imports():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [Path(line) for line in done.stdout.splitlines() if line.endswith(".py")]
    assert len(files) > 40
    packages = set().union(*(imported(path.read_text(encoding="utf-8")) for path in files))
    outside = packages - set(sys.stdlib_module_names) - {"audiornn"}
    distributions = packages_distributions()
    offered = {name: {BROUGHT_ALONG.get(name), *(each.lower() for each in distributions[name])} for name in outside}
    assert {name for name, from_any in offered.items() if not from_any & set(REQUIREMENTS)} == set()
