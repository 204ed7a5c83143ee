"""What the writer of a params.yaml is promised: it means what it says, or one line says what is wrong with it."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audiornn.common.errors import AudioRNNError, shown
from audiornn.common.validation import Section, validate
from audiornn.models import registry, storage
from audiornn.params import Generate, Params, Resample, Shard, load

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "params.yaml"

# Where the shipped file says something else than the classes, on purpose: the drop folder, and a choice of clips.
TUNED = {"corpus.path", "generate.count"}

# Words of pydantic and Python that mean nothing to the writer of a parameter file.
JARGON = re.compile(
    r"Input should|Value error|String should|Keys should|validation error|valid dictionary|instance of|pydantic|http|"
    r"Traceback|<class|must must|must should"
)


def leaves(kind: type[Section] = Params, prefix: str = "") -> Iterator[str]:
    """The path of every key that holds a value."""
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from leaves(field.annotation, f"{prefix}{key}.")
        else:
            yield prefix + key


def value_at(params: Any, path: str) -> Any:
    for key in path.split("."):
        params = getattr(params, key)
    return params


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"train.model.units": 3}` as the mappings that YAML would give."""
    content: dict[str, Any] = {}
    for path, value in values.items():
        *sections, key = path.split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return content


def loaded(folder: Path, text: str) -> Params:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def complaint(folder: Path, text: str) -> str:
    """The one line that the text of a parameter file leads to, from the file's name on."""
    with pytest.raises(AudioRNNError) as error:
        loaded(folder, text)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{folder}/params.yaml: ")
    assert not JARGON.search(line)
    return line.removeprefix(f"{folder}/")


KEYS = sorted(leaves())


# --- The file that ships -----------------------------------------------------------------------------------------


def test_the_shipped_file_has_the_defaults_of_the_classes_except_for_the_recordings_and_the_number_of_clips():
    shipped, default = load(SHIPPED), Params()
    assert {key for key in KEYS if value_at(shipped, key) != value_at(default, key)} == TUNED
    assert shipped.corpus.path == "recordings"


def test_the_shipped_file_names_a_model_and_leaves_its_sizes_to_the_model():
    # So that another model is one changed word.
    model = load(SHIPPED).train.model
    assert not model.sizes
    assert storage.complete(model.name, {})


def test_python_and_the_command_line_generate_alike_by_default():
    """As params.yaml says, which has the defaults of the classes."""
    import audiornn
    from audiornn.cli import parser

    signature = inspect.signature(audiornn.generate).parameters
    default = Params().generate
    assert default.top_p < 1
    for key in (
        "seconds",
        "count",
        "top_k",
        "top_p",
        "confidence_threshold",
        "prompt_offset",
        "prompt_seconds",
        "peak_mode",
        "engine",
    ):
        assert signature[key].default == getattr(default, key), key
    assert (signature["temperature"].default,) == default.temperature
    asked = parser().parse_args(["generate"])
    assert (asked.top_k, asked.top_p, asked.confidence_threshold) == (None, None, None), (
        "what is not given, the class decides"
    )
    (commands,) = (action for action in parser()._actions if action.dest == "command")
    told = " ".join(commands.choices["generate"].format_help().split())
    assert f"of this total probability (default: {default.top_p:g})" in told
    assert f"so that pauses end (default: {default.confidence_threshold:g}; 1: never)" in told


def test_the_page_about_models_shows_all_sizes_at_their_defaults():
    page = (SHIPPED.parent / "docs" / "models.md").read_text(encoding="utf-8")
    shown = [yaml.safe_load(block) for block in re.findall("```yaml\n(.*?)```", page, re.S)]
    assert [model["name"] for model in shown] == list(registry.REGISTRY)
    for model in shown:
        name = model.pop("name")
        # As JSON, which knows no tuples.
        assert json.loads(json.dumps(storage.complete(name, {}))) == model, name


def test_the_shipped_file_shows_every_key_with_a_comment_on_its_line():
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()

    def shown(node: yaml.MappingNode, prefix: str = "") -> Iterator[tuple[str, int]]:
        for key, value in node.value:
            if isinstance(value, yaml.MappingNode):
                yield from shown(value, f"{prefix}{key.value}.")
            else:
                yield prefix + key.value, key.start_mark.line

    places = dict(shown(yaml.compose(SHIPPED.read_text(encoding="utf-8"))))
    assert sorted(places) == sorted([*KEYS, *(f"train.model.{size}" for size in load(SHIPPED).train.model.sizes)])
    assert [key for key, line in places.items() if not re.search(r"\S +# \w", lines[line])] == []


def test_sections_stages_and_stage_scripts_have_the_same_names_in_the_same_order():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    # These only look at what is there, and have no section of their own.
    assert stages.pop("recordings")["params"] == ["corpus.path", "generate.prompt"]
    assert stages.pop("ancestor")["params"] == ["train.start_from"]
    assert list(stages) == list(Params.model_fields) == list(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
    assert [stage["params"] for stage in stages.values()] == [[name] for name in stages]
    assert all((ROOT / "stages" / f"{name}.py").is_file() for name in stages)


# --- What may be left out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "train: {}\n", "train:\n", "train:\n  model:\n"])
def test_omitted_keys_have_their_defaults(tmp_path, text):
    assert loaded(tmp_path, text) == Params()


@pytest.mark.parametrize("section", Params.model_fields)
def test_a_section_with_all_keys_commented_out_has_its_defaults(tmp_path, section):
    assert loaded(tmp_path, f"{section}:\n  # seed: 3\n") == Params()


def test_a_single_key_changes_only_that_key(tmp_path):
    assert loaded(tmp_path, "train: {model: {units: 7}}").model_dump() == {
        **(default := Params().model_dump()),
        "train": {**default["train"], "model": {**default["train"]["model"], "units": 7}},
    }


@pytest.mark.parametrize("budget", ["steps: 7", "minutes: 7.0", "steps: 7, epochs: 2", "epochs: 2, minutes: 7.0"])
def test_a_budget_of_another_kind_replaces_epochs_whether_they_are_given_or_not(tmp_path, budget):
    train = loaded(tmp_path, f"train: {{{budget}}}").train
    assert (train.epochs, train.steps or train.minutes) == (None, 7)


def test_an_option_that_sets_only_minutes_replaces_the_epochs_of_the_shipped_params(tmp_path):
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert shipped["train"]["epochs"]
    shipped["train"]["minutes"] = 3
    train = loaded(tmp_path, yaml.safe_dump(shipped)).train
    assert (train.epochs, train.steps, train.minutes) == (None, None, 3)


def test_epochs_are_checked_even_where_they_are_not_used(tmp_path):
    assert "train.epochs is 0" in complaint(tmp_path, "train: {epochs: 0, minutes: 3}")


def test_names_of_models_are_checked_without_tensorflow():
    code = "import sys; from audiornn.params import load; load(); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_single_temperature_is_a_list_of_one(tmp_path):
    assert loaded(tmp_path, "generate: {temperature: 0.5}").generate.temperature == (0.5,)
    assert loaded(tmp_path, "generate: {temperature: [0, 0.5, 10]}").generate.temperature == (0.0, 0.5, 10.0)


# --- Typos -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "value", "nearest"),
    [
        ("trian: 1", "trian", "1", "train"),
        ("shard: {contxt: 300}", "shard.contxt", "300", "shard.context"),
        ("resample: {samplerate: '8 kHz'}", "resample.samplerate", "'8 kHz'", "resample.sample_rate"),
        ("train: {Epochs: null}", "train.Epochs", "None", "train.epochs"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_its_value_and_the_nearest_key(tmp_path, text, key, value, nearest):
    line = complaint(tmp_path, text)
    assert line == f"params.yaml: unknown key {key} (value {value}); did you mean {nearest}?"


@pytest.mark.parametrize("key", [key for key in KEYS if key != "train.model.name"])  # beside it stand sizes
def test_any_key_with_a_missing_or_two_swapped_letters_is_answered_with_the_right_key(key):
    prefix, dot, name = key.rpartition(".")
    missing = {name[:i] + name[i + 1 :] for i in range(len(name))}
    swapped = {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)}
    known = {other.rpartition(".")[2] for other in KEYS if other.rpartition(".")[0] == prefix}
    for typo in (missing | swapped) - known:
        with pytest.raises(AudioRNNError, match=f"; did you mean (.* or )?{re.escape(key)}( or .*)?[?]$"):
            validate(Params, nested({f"{prefix}{dot}{typo}": 1}), "params.yaml")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("xyzzy: 1", list(Params.model_fields)),
        ("encode: {xyzzy: 1}", ["preemphasis"]),
        ("shard: {7: 1}", list(Shard.model_fields)),
    ],
)
def test_a_key_unlike_any_other_is_answered_with_the_valid_keys(tmp_path, text, known):
    line = complaint(tmp_path, text)
    assert re.match(r"params.yaml: unknown key \S*(xyzzy|7)\b", line)
    assert line.endswith(f"known keys are {', '.join(known)}")


RENAMED = [
    ("corpus.synth", "corpus.synthetic"),
    ("shard.span", "shard.targets_per_window"),
    ("shard.shift", "shard.stride"),
    ("train.batch", "train.batch_size"),
    ("train.accumulate", "train.accumulation_steps"),
    ("train.piece", "train.chunk"),
    ("train.crop", "train.crop_targets"),
    ("train.evaluate_steps", "train.validate_every_steps"),
    ("train.listen_every", "train.clip_every_epochs"),
    ("evaluate.batch", "evaluate.batch_size"),
    ("generate.certain", "generate.confidence_threshold"),
    ("generate.level", "generate.peak_mode"),
]


@pytest.mark.parametrize(("old", "present"), RENAMED)
def test_a_key_of_an_earlier_version_is_answered_with_its_current_name(tmp_path, old, present):
    assert complaint(tmp_path, yaml.safe_dump(nested({old: 1}))) == (
        f"params.yaml: unknown key {old} (value 1); it is now called {present}"
    )
    assert present in KEYS


def test_every_renamed_key_is_tested():
    tables = {f"{name}.{old}" for name, field in Params.model_fields.items() for old in field.annotation.renamed}
    assert tables == {old for old, _ in RENAMED}


# --- Wrong values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "begin", "right"),
    [
        # Wrong type: nothing is converted in silence
        ("resample: {sample_rate: '8000'}", "resample.sample_rate is '8000', but", "integer, not text"),
        ("resample: {sample_rate: yes}", "resample.sample_rate is True, but", "integer"),
        ("resample: {sample_rate: 8000.0}", "resample.sample_rate is 8000.0, but", "integer"),
        ("train: {learning_rate: fast}", "train.learning_rate is 'fast', but", "number, not text"),
        ("train: {learning_rate: 1e-3}", "train.learning_rate is '1e-3', but", "1e-3 as 0.001"),  # YAML 1.1: text
        ("train: {learning_rate: }", "train.learning_rate is None, but", "number"),
        ("corpus: {path: 5}", "corpus.path is 5, but", "string"),
        ("corpus: {path: 2024-05-06}", "corpus.path is datetime.date(2024, 5, 6), but", "string"),
        ("shard: 5", "shard is 5, but", "section with the keys context, targets_per_window, "),
        ("shard: [256]", "shard is [256], but", "section with the keys context, targets_per_window, "),
        ("train: {model: audiornn}", "train.model is 'audiornn', but", "section with the key name and "),
        # Out of range
        ("resample: {sample_rate: 0}", "resample.sample_rate is 0, but", "or equal to 1000"),
        ("resample: {sample_rate: 400000}", "resample.sample_rate is 400000, but", "or equal to 384000"),
        ("encode: {preemphasis: 1}", "encode.preemphasis is 1, but", "less than 1"),
        ("encode: {preemphasis: -0.1}", "encode.preemphasis is -0.1, but", "or equal to 0"),
        ("corpus: {minutes: 0}", "corpus.minutes is 0, but", "greater than 0"),
        ("corpus: {minutes: 601}", "corpus.minutes is 601, but", "or equal to 600"),
        ("corpus: {path: ''}", "corpus.path is '', but", "at least 1 character"),
        ("generate: {prompt: ''}", "generate.prompt is '', but", "at least 1 character"),
        ("corpus: {seed: -1}", "corpus.seed is -1, but", "or equal to 0"),
        ("corpus: {seed: 2147483648}", "corpus.seed is 2147483648, but", "less than 2147483648"),
        ("shard: {context: 0}", "shard.context is 0, but", "or equal to 1"),
        ("shard: {targets_per_window: 0}", "shard.targets_per_window is 0, but", "or equal to 1"),
        ("shard: {test: 1.0}", "shard.test is 1.0, but", "less than 1"),
        ("train: {learning_rate: 0}", "train.learning_rate is 0, but", "greater than 0"),
        ("train: {learning_rate: 1.5}", "train.learning_rate is 1.5, but", "or equal to 1"),
        ("train: {learning_rate: .nan}", "train.learning_rate is nan, but", "finite number"),
        ("train: {clip_norm: .inf}", "train.clip_norm is inf, but", "finite number"),  # would make gradients NaN
        ("generate: {seconds: .inf}", "generate.seconds is inf, but", "finite number"),
        ("generate: {temperature: [-1]}", "generate.temperature is [-1], but", "from 0 "),
        ("generate: {temperature: 10.5}", "generate.temperature is 10.5, but", "to 10"),
        ("generate: {temperature: .nan}", "generate.temperature is nan, but", "from 0 "),
        ("generate: {temperature: []}", "generate.temperature is [], but", "a number from 0 to 10, a ramp"),
        ("generate: {temperature: hot}", "generate.temperature is 'hot', but", "a number from 0 to 10, a ramp"),
        ("generate: {temperature: true}", "generate.temperature is True, but", "a number from 0 to 10, a ramp"),
        ("generate: {temperature: {a: 1}}", "generate.temperature is {'a': 1}, but", "a number from 0 to 10, a ramp"),
        # Not among the choices
        ("corpus: {synthetic: noise}", "corpus.synthetic is 'noise', but", "'speech', 'voices' or 'music'"),
        ("train: {optimizer: Adam}", "train.optimizer is 'Adam', but", "'adamw', 'adam' or 'rmsprop'"),
        ("train: {model: {name: wavenet}}", "train.model.name is 'wavenet', but", "one of samplernn"),
        ("train: {model: {name: 5}}", "train.model.name is 5, but", "string"),
    ],
)
def test_a_wrong_value_is_a_one_line_error_with_the_key_the_value_and_what_is_valid(tmp_path, text, begin, right):
    line = complaint(tmp_path, text)
    assert line.startswith(f"params.yaml: {begin} must ")
    assert right in line.removeprefix(f"params.yaml: {begin}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "shard: {validation: 0.7, test: 0.5}",
            "params.yaml: shard: validation and test are 0.7 and 0.5, together 1.2, "
            "but must leave a share for training: a sum below 1",
        ),
        (
            "resample: {sample_rate: 8000, highpass_hz: 5000}",
            "params.yaml: resample: highpass_hz is 5000, but must be below half of sample_rate, 4000",
        ),
        (
            "resample: {sample_rate: 1000, highpass_hz: 500}",
            "params.yaml: resample: highpass_hz is 500, but must be below half of sample_rate, 500",
        ),
        (
            "train: {steps: 5, minutes: 3}",
            "params.yaml: train: steps is 5 and minutes is 3, but one of them must be null",
        ),
        (
            "train: {epochs: }",
            "params.yaml: train: epochs, steps and minutes are null, but one of them must be set",
        ),
        (
            "train: {objective: window, chunk: 5}",
            "params.yaml: train: chunk is 5, but must be null if objective is window, as a window then has one target",
        ),
    ],
)
def test_mutually_exclusive_values_are_both_named(tmp_path, text, line):
    assert complaint(tmp_path, text) == line


def test_a_section_from_the_command_line_is_answered_with_where_it_came_from():
    with pytest.raises(AudioRNNError, match=r"^command line: highpass_hz is 5000, but must be below half of "):
        validate(Resample, {"highpass_hz": 5000}, "command line")
    with pytest.raises(AudioRNNError, match=r"^command line: sample_rate is 5, but must be "):
        validate(Resample, {"sample_rate": 5}, "command line")


wrong_values = st.lists(st.text(st.characters(exclude_categories=["Nd", "Cs"])), min_size=1, max_size=1)


@given(st.dictionaries(st.sampled_from(KEYS), wrong_values, min_size=1))
def test_there_is_one_line_for_each_problem(wrong):
    with pytest.raises(AudioRNNError) as error:
        validate(Params, nested(wrong), "params.yaml")
    lines = str(error.value).splitlines()
    named = [f"params.yaml: {key} is {shown(value)}, but must " for key, value in wrong.items()]
    assert len(lines) == len(named)
    assert all(any(line.startswith(begin) for line in lines) for begin in named)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
keys = st.sampled_from(sorted({part for key in KEYS for part in key.split(".")})) | scalars
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(sorted(Params.model_fields)) | scalars, anything))
@pytest.mark.slow
def test_any_content_of_the_file_is_accepted_or_refused_line_by_line(content):
    assume(not JARGON.search(repr(content)))  # answers repeat keys and values
    try:
        validate(Params, content, "params.yaml")
    except AudioRNNError as error:
        for line in str(error).splitlines():
            assert re.match(r"params\.yaml: .*(must|known keys are|did you mean|it is now called) .", line)
            assert not JARGON.search(line)


def test_parameters_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        Generate().count = 2


# --- Files that are not parameter files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "- corpus\n- train\n",
            r"params.yaml: holds \['corpus', 'train'\], but must hold sections: corpus, resample, ",
        ),
        ("corpus.path\n", "params.yaml: holds 'corpus.path', but must hold sections: corpus, resample, "),
        ("corpus: [\n", "params.yaml: not readable as YAML: .* line 2"),
        ("corpus:\n\tpath: a\n", r"params.yaml: not readable as YAML: .*'\\t'.* line 2"),
        ("corpus: {path: 2024-13-01}", "params.yaml: not readable as YAML: month must be in 1..12"),
        ("--- {}\n--- {}\n", "params.yaml: not readable as YAML: .*another document"),
    ],
)
def test_a_file_that_is_not_yaml_or_has_no_sections_is_refused_in_one_line(tmp_path, text, line):
    assert re.match(line, complaint(tmp_path, text))


def test_a_missing_file_a_folder_and_a_binary_file_are_refused_in_one_line(tmp_path):
    with pytest.raises(AudioRNNError, match=r"^\S+/none.yaml: no such file$"):
        load(tmp_path / "none.yaml")
    with pytest.raises(AudioRNNError, match=r"^\S+: not readable as YAML: not a file$"):
        load(tmp_path)
    (tmp_path / "params.yaml").write_bytes(b"RIFF\xff\xfe\x00\x00WAVE")
    with pytest.raises(AudioRNNError, match=r"^\S+/params.yaml: not readable as YAML: .*utf-8.*$"):
        load(tmp_path / "params.yaml")


# --- Stages ------------------------------------------------------------------------------------------------------


def run_stage(name: str, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("DVC_ROOT", None)
    command = [sys.executable, "-m", f"stages.{name}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_stage_with_a_wrong_parameter_ends_with_one_line_exit_code_2_and_no_output(tmp_path):
    (tmp_path / "params.yaml").write_text("corpus: {minutes: -1}\n", encoding="utf-8")
    done = run_stage("corpus", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: params.yaml: corpus.minutes is -1, but must be greater than 0\n"
    assert done.stdout == ""
    assert [path.name for path in tmp_path.rglob("*")] == ["params.yaml"]


def test_a_stage_without_a_parameter_file_ends_with_one_line_exit_code_2_and_no_output(tmp_path):
    done = run_stage("corpus", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: params.yaml: no such file\n"
    assert list(tmp_path.rglob("*")) == []
