"""dvc.yaml says of each stage what it really reads: a change of code that can alter its output runs it again."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# What no output depends on: errors, how files are written, where compiled code is kept, what is logged. Parameters are
# read by params.py.
APART = {
    "audiornn/__init__.py",
    *(f"audiornn/{name}.py" for name in ("errors", "files", "jit", "listening", "params", "tracking")),
}
# Imports of mere names and types, or for what no stage asks for.
HARMLESS = {
    ("audiornn/diagnostics.py", "audiornn/corpus.py"),
    ("audiornn/figures.py", "audiornn/analysis.py"),
    ("audiornn/shards.py", "audiornn/backend.py"),
    ("audiornn/shards.py", "audiornn/codec.py"),
    ("audiornn/shards.py", "audiornn/corpus.py"),
    ("stages/resample.py", "audiornn/corpus.py"),
}
# Modules that are chosen by a name at run time.
CHOSEN = {"audiornn/models/__init__.py": "audiornn/models/*.py", "audiornn/sampling.py": "audiornn/fused*.py"}
CHOSEN["audiornn/report.py"] = "audiornn/report.html"


@cache
def imports(path):
    """Files of the library that a file imports, wherever in it."""
    if not path.endswith(".py"):
        return set()
    found = {str(chosen.relative_to(ROOT)) for chosen in ROOT.glob(CHOSEN.get(path, " "))}
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("audiornn"):
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("audiornn")]
        else:
            continue
        for name in names:
            place = name.replace(".", "/")
            found |= {file for file in (f"{place}.py", f"{place}/__init__.py") if (ROOT / file).is_file()}
    return {file for file in found - APART if (path, file) not in HARMLESS}


def reached(path):
    """Files of the library that a file needs, directly or not, but those that no output depends on."""
    seen, ahead = set(), [path]
    while ahead:
        for file in imports(ahead.pop()) - seen:
            seen.add(file)
            ahead.append(file)
    return {"audiornn/models" if file.startswith("audiornn/models/") else file for file in seen}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_can_change_its_output(stage):
    listed = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("audiornn/", "stages/"))}
    assert listed == reached(f"stages/{stage}.py") | {f"stages/{stage}.py"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_like_its_script_and_its_section(stage):
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"
    assert STAGES[stage].get("params", [stage]) == [stage]
