"""dvc.yaml lists what each stage reads: a change of code that can alter its output runs the stage again."""

from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from audiornn.audio import packs
from audiornn.corpus import scan
from audiornn.preparation import encoding, shard_writer
from audiornn.training.checkpoints import TRAINING_CODE

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Packages on which no output depends: what any package uses, what is logged, what was made before. The values of
# parameters are DVC's business, and clips while training are only logged.
WITHOUT_EFFECT = ("audiornn.common", "audiornn.reuse", "audiornn.tracking", "stages.common")
WITHOUT_EFFECT += ("audiornn.params", "audiornn.generation.training_clips")
# Modules that import others by a name at run time.
BY_NAME = {
    "audiornn.models.registry": "audiornn.models.",
    "audiornn.generation.engines": "audiornn.generation.fused.",
}


@cache
def graph():
    """All imports of the library and the stages, but those for type checkers alone."""
    return grimp.build_graph("audiornn", "stages", exclude_type_checking_imports=True, cache_dir=None)


def without_effect(module):
    """Whether a module cannot alter an output."""
    return module == "audiornn" or f"{module}.".startswith(tuple(f"{name}." for name in WITHOUT_EFFECT))


def imported(module):
    """The modules that a module imports, wherever in it or by name."""
    by_name = {other for other in graph().modules if other.startswith(BY_NAME.get(module, "-"))}
    return graph().find_modules_directly_imported_by(module) | by_name


def reached(start):
    """Paths of the modules that a module needs, directly or not."""
    seen, ahead = set(), [start]
    while ahead:
        found = {module for module in imported(ahead.pop()) if not without_effect(module)} - seen
        seen |= found
        ahead += found
    paths = [ROOT / module.replace(".", "/") for module in seen]
    return {path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for path in paths}


def code(stage):
    """The library's modules and packages that dvc.yaml lists for a stage."""
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("audiornn/")]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_can_change_its_output_and_on_no_other_package(stage):
    listed, needed = code(stage), reached(f"stages.{stage}")
    assert {path for path in needed if not any(path.is_relative_to(dep) for dep in listed)} == set()
    assert {dep for dep in listed if not any(path.is_relative_to(dep) for path in needed)} == set()
    assert f"stages/{stage}.py" in STAGES[stage]["deps"]


def test_training_depends_on_nothing_that_cannot_change_it():
    packages = [dep for dep in code("train") if dep.is_dir()]
    files = {path for package in packages for path in package.rglob("*.py") if path.name != "__init__.py"}
    assert files <= reached("stages.train")


def test_a_checkpoint_belongs_to_the_code_that_the_train_stage_depends_on():
    assert [ROOT / "audiornn" / name for name in TRAINING_CODE] == code("train")


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("audio.examination", scan.CODE),
        ("audio.packs", packs.CODE),
        ("preparation.encoding", encoding.CODE),
        ("preparation.shard_writer", shard_writer.CODE),
    ],
)
def test_cached_and_remote_work_is_identified_by_all_code_that_can_change_it(module, code):
    listed = [ROOT / "audiornn" / name for name in code]
    assert all(path.exists() for path in listed)
    needed = reached(f"audiornn.{module}") | {ROOT / "audiornn" / f"{module.replace('.', '/')}.py"}
    assert {path for path in needed if not any(path.is_relative_to(part) for part in listed)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_like_its_script_and_its_section(stage):
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"
    # The keys that decide which recordings, which prompt or which model there are.
    keys = {"recordings": ["corpus.path", "generate.prompt"], "ancestor": ["train.start_from"]}
    assert STAGES[stage].get("params", [stage]) == keys.get(stage, [stage])
