import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import install

ROOT = Path(__file__).parents[2]


def make_setup(folder, python):
    """`make setup` in a folder that has what it reads, with a shell script for Python."""
    for name in ("Makefile", "Pipfile.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(f"#!/bin/sh\n{python}\n")
    (folder / "python").chmod(0o755)
    alone = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(
        ["make", "setup", "PYTHON=./python"], cwd=folder, env=alone, capture_output=True, text=True, check=False
    )


def test_every_package_of_the_lock_is_required_at_its_version_by_its_hashes():
    lock = json.loads((ROOT / "Pipfile.lock").read_text())
    names = (lock["default"].keys() | lock["develop"].keys()) - {"audiornn"}
    lines = [*install.requirements(lock).splitlines(), *install.requirements(lock, by_pip=True).splitlines()]
    assert len(lines) == len(names)
    assert {line.split("==")[0].split("[")[0] for line in lines} == names
    assert all("==" in line and "--hash=sha256:" in line for line in lines)


def test_extras_and_markers_of_the_lock_are_kept():
    entry = {"version": "==1.0", "hashes": ["sha256:ab", "sha256:cd"], "extras": ["http"], "markers": "os_name == 'nt'"}
    lock = {"default": {"one": entry, "own": {"path": ".", "editable": True}}, "develop": {}}
    assert install.requirements(lock) == "one[http]==1.0 ; os_name == 'nt' --hash=sha256:ab --hash=sha256:cd\n"


def test_uv_uses_the_package_index_and_certificates_that_pip_is_configured_with():
    config = (
        "global.index-url='https://global/simple'\nglobal.cert='/a.pem'\ninstall.find-links='/a /b'\nglobal.quiet='1'\n"
    )
    assert install.uv_variables(config) == {
        "UV_DEFAULT_INDEX": "https://global/simple",
        "SSL_CERT_FILE": "/a.pem",
        "UV_FIND_LINKS": "/a,/b",
    }


def test_of_several_places_that_configure_pip_the_same_one_wins_as_for_pip():
    config = "global.index-url='https://g'\n:env:.index-url='https://e'\ninstall.index-url='https://i'\n"
    assert install.uv_variables(config)["UV_DEFAULT_INDEX"] == "https://e"


def test_all_configured_indexes_are_searched():
    found = install.uv_variables("global.extra-index-url='https://a https://b'\n")
    assert found == {"UV_INDEX": "https://a https://b", "UV_INDEX_STRATEGY": "unsafe-best-match"}


@pytest.mark.parametrize(
    ("lacks", "error"),
    [
        ("ensurepip", "error: ./python cannot make environments: on Debian and Ubuntu, apt-get install python3-venv"),
        ("version_info", "found, but Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..."),
    ],
)
def test_set_up_says_what_an_unsuitable_python_lacks_and_leaves_nothing(tmp_path, lacks, error):
    done = make_setup(tmp_path, f'case "$*" in *{lacks}*) exit 1;; esac; exec {sys.executable} "$@"')
    assert done.returncode == 2
    assert error in done.stdout
    assert not (tmp_path / ".venv").exists() and not (tmp_path / ".tools").exists()


def test_set_up_says_before_it_installs_what_that_takes(tmp_path):
    done = make_setup(tmp_path, f'case "$*" in *venv*--clear*) exit 1;; esac; exec {sys.executable} "$@"')
    assert done.stdout.splitlines()[-1].startswith("installing into .venv: 3.7 GB of disk")
