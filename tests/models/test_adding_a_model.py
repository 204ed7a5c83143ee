"""docs/adding-a-model.md is right: with what stands there a new model is trained and keeps the contract of models."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from audiornn import models
from audiornn.backend import keras
from audiornn.common.validation import validate
from audiornn.models import registry, storage
from audiornn.params import Params
from audiornn.training import trainer
from tests.helpers import model_contract

pytestmark = pytest.mark.slow
PAGE = Path(__file__).resolve().parents[2] / "docs/adding-a-model.md"


def block(language, after):
    """The first block of code of a language behind a text of the page."""
    page = PAGE.read_text(encoding="utf-8")
    return re.search(rf"```{language}\n(.*?)```", page[page.index(after) :], re.DOTALL)[1]


def entry(after):
    """A line of a dictionary, as a dictionary."""
    return ast.literal_eval("{" + block("python", after).strip() + "}")


@pytest.fixture
def name(tmp_path, monkeypatch):
    """The model of the page, as if its file and its line were there."""
    path = Path(re.search(r"`audiornn/models/(\w+\.py)`:", PAGE.read_text(encoding="utf-8"))[1])
    (tmp_path / path).write_text(block("python", "## The file"), encoding="utf-8")
    line = entry("In `REGISTRY`")
    name = next(iter(line))
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setitem(registry.REGISTRY, *line.popitem())
    importlib.invalidate_caches()
    yield name
    sys.modules.pop(f"audiornn.models.{path.stem}", None)


def imports(source):
    """The modules of the library that a source imports from."""
    return {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("audiornn")
    }


def test_the_model_of_the_page_imports_only_what_models_may_import():
    sources = Path(models.__file__).parent.rglob("*.py")
    allowed = set().union(*(imports(path.read_text(encoding="utf-8")) for path in sources))
    assert imports(block("python", "## The file")) <= allowed


def test_the_model_of_the_page_keeps_the_contract_and_is_trained_by_its_name(name, make_shards, tmp_path, sine_codes):
    ((small_name, sizes),) = entry("in `SMALL`").items()
    assert small_name == name
    keras.utils.set_random_seed(0)
    model = model_contract.shaken(storage.build(name, **sizes))
    model_contract.check_that_both_forms_are_one_network(model, 2, time=300)
    model_contract.check_that_a_prompt_of_any_length_leaves_the_state_of_stepping_through_it(model)
    model_contract.check_that_chunks_have_the_logits_of_the_whole(model)
    model_contract.check_that_no_logit_depends_on_later_codes(model)
    model_contract.check_that_the_last_logits_alone_are_the_last_of_all(model)
    model_contract.check_that_gradients_in_parallel_are_those_of_the_steps(model)

    content = yaml.safe_load(block("yaml", "## The run"))
    params = validate(Params, content, PAGE).train
    assert params.model.name == name
    quick = params.model_copy(update={"epochs": 2, "batch_size": 8})
    trained, result = trainer.train(make_shards({"a": sine_codes}, 64, 256), tmp_path / "m", quick, progress=False)
    assert trained.sizes == storage.complete(name, params.model.sizes)
    assert result.best_validation < 7
    assert storage.load(tmp_path / "m").name == name
