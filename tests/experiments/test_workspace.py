"""`audiornn new`: a workspace with the parameters of a preset, or one line that says why not."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from audiornn import cli
from audiornn.common.errors import AudioRNNError
from audiornn.experiments import definition, plan, workspace
from audiornn.params import load
from audiornn.provenance.overrides import flatten

PROJECT = Path(__file__).parents[2]
RATES = {"speech-8k": 8000, "speech-16k": 16_000, "music-16k": 16_000, "music-22k": 22_050, "music-44k": 44_100}
SHIPPED = (PROJECT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with the project's parameters and experiments, from which workspaces are made."""
    root = tmp_path / "repository"
    (root / "experiments").mkdir(parents=True)
    for name in ("params.yaml", *(f"experiments/{path.name}" for path in (PROJECT / "experiments").glob("*.yaml"))):
        (root / name).write_bytes((PROJECT / name).read_bytes())
    for variable, value in {"NAME": "a", "EMAIL": "a@b"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{variable}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{variable}", value)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    monkeypatch.setattr(workspace, "REPOSITORY", root)
    monkeypatch.chdir(tmp_path)
    return root


def comments(text):
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_the_presets_are_for_the_rates_that_their_names_say():
    known = workspace.presets(PROJECT)
    for name, rate in RATES.items():
        (setting,) = plan.plan(name, workspace=PROJECT)
        assert setting.params.resample.sample_rate == rate
        assert setting.params.corpus.synthetic == name.split("-")[0]
        assert known[name].set["resample.sample_rate"] == rate
    assert not {"context", "models"} & known.keys(), "a sweep is no preset"


@pytest.mark.parametrize("preset", RATES)
def test_a_workspace_has_the_values_of_its_preset_and_all_comments_committed(repository, preset, capsys):
    cli.main(["new", "mine", "--preset", preset])
    text = Path("mine/params.yaml").read_text(encoding="utf-8")
    assert comments(text) == comments(SHIPPED)
    (setting,) = plan.plan(preset, workspace=repository)
    assert load("mine/params.yaml") == setting.params
    status = subprocess.run(["git", "status", "--porcelain"], cwd="mine", capture_output=True, text=True, check=True)
    assert status.stdout == ""
    assert "mine/recordings/" in capsys.readouterr().out
    assert sorted(path.name for path in Path().iterdir()) == ["mine", "repository"]


def test_the_preset_of_8_khz_is_the_default():
    text = workspace.edited(SHIPPED, definition.read("speech-8k", PROJECT / "experiments").set, "speech-8k")
    assert text == SHIPPED


def test_values_of_all_kinds_are_replaced_added_and_removed_and_the_rest_of_the_file_stays():
    own = SHIPPED.replace("    name: samplernn  ", "    units: 64  # mine\n    name: linear  ", 1)
    changes = {"train.model": {"name": "lpcmix", "frame": 8}, "corpus.path": "my music", "generate.prompt": None}
    text = workspace.edited(own, {**changes, "generate.temperature": [0.5, "0.7:1.1"]}, "here")
    held, expected = dict(flatten(yaml.safe_load(text))), dict(flatten(yaml.safe_load(SHIPPED)))
    assert held == expected | {
        "train.model.name": "lpcmix",
        "train.model.frame": 8,
        "corpus.path": "my music",
        "generate.prompt": None,
        "generate.temperature": [0.5, "0.7:1.1"],
    }
    assert comments(text) == comments(SHIPPED)


@pytest.mark.parametrize("own", ["train: {epochs: 3}\n", "train:\nshard: {context: 5}\n", ""])
def test_a_file_that_cannot_be_edited_is_named(own):
    with pytest.raises(AudioRNNError, match="params.yaml: (cannot be edited: write a section's keys|holds None)"):
        workspace.edited(own, {"train.model": {"name": "linear"}, "resample.sample_rate": 9000}, "here")


def test_values_that_are_not_valid_are_refused_by_name():
    with pytest.raises(AudioRNNError, match="mine: shard.context is 0, but must be"):
        workspace.edited(SHIPPED, {"shard.context": 0}, "mine")
    with pytest.raises(AudioRNNError, match="mine: train.model: unknown key frame "):
        workspace.edited(SHIPPED, {"train.model": {"name": "samplernn", "frame": 3}}, "mine")


@pytest.mark.parametrize(
    ("name", "preset", "said"),
    [
        ("taken", "speech-8k", "taken: exists; name a new folder"),
        ("new", "speech-61k", "--preset 'speech-61k': no such preset; did you mean speech-16k?"),
        ("new", "context", "--preset 'context': no such preset; "),
        ("-", "speech-8k", "'-': not a name for a workspace: use letters, digits"),
        ("a\nb", "speech-8k", "'a\\\\nb': not a name for a workspace: use letters, digits"),
        ("", "speech-8k", "'.': not a name for a workspace: use letters, digits"),
        ("nowhere/new", "speech-8k", "nowhere/new: nowhere is not a folder"),
        (
            "repository/new",
            "speech-8k",
            "repository/new: is in the Git repository .*; name a folder outside it, such as",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2_and_leaves_nothing(repository, name, preset, said, capsys):
    Path("taken").mkdir()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["new", "--preset", preset, "--", name])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(f"error: {said}", error), error
    assert sorted(Path().rglob("*")) == before


def test_what_git_cannot_do_is_one_line_and_leaves_nothing(repository, monkeypatch):
    (repository / "params.yaml").unlink()
    subprocess.run(["git", "commit", "-qam", "gone"], cwd=repository, check=True)
    with pytest.raises(AudioRNNError, match="repository: has no params.yaml"):
        workspace.create("mine", "speech-16k", repository)
    monkeypatch.setattr(workspace, "presets", lambda repository: {"a": definition.Experiment(description="a")})
    with pytest.raises(AudioRNNError, match="git clone: "):
        workspace.create("mine", "a", "no-repository")
    assert [path.name for path in Path().iterdir()] == ["repository"]
