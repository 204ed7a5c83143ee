"""Install what Pipfile.lock names by uv: the same files as Pipenv, hashes checked, in a fraction of the time.

PYTHON tools/install.py UV VENV    # PYTHON has pip, whose configuration (package index, certificates) uv is given
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Packages with a wheel for this platform and one for any, which lacks a library: uv takes now one, now the other.
BY_PIP = ("soundfile",)
# uv does not read pip's configuration: its variables for pip's options. Lists are separated by spaces in pip.
OPTIONS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


def requirements(lock: Mapping[str, Mapping[str, Mapping[str, object]]], by_pip: bool = False) -> str:
    """The packages of a Pipfile.lock as a requirements file with hashes: those of `BY_PIP`, or all others.

    This project itself is not among them.
    """
    lines = []
    for name, entry in {**lock["default"], **lock["develop"]}.items():
        if "path" in entry or (name in BY_PIP) != by_pip:
            continue
        extras = f"[{','.join(entry['extras'])}]" if "extras" in entry else ""
        marker = f" ; {entry['markers']}" if "markers" in entry else ""
        hashes = "".join(f" --hash={digest}" for digest in entry["hashes"])
        lines.append(f"{name}{extras}{entry['version']}{marker}{hashes}\n")
    return "".join(lines)


def uv_variables(pip_config: str) -> dict[str, str]:
    """uv's environment variables for what `pip config list` prints.

    Of several places that set an option, pip takes the environment before the section `install` before `global`.
    """
    found = {}
    listed = [line.partition("=") for line in pip_config.splitlines() if "=" in line]
    values = {key: str(ast.literal_eval(value)) for key, _, value in listed}
    for place in ("global", "install", ":env:"):
        for option, variable in OPTIONS.items():
            if value := values.get(f"{place}.{option}"):
                separator = "," if variable == "UV_FIND_LINKS" else " "
                found[variable] = separator.join(value.split())
    if "UV_INDEX" in found:  # as pip, which looks for a version in all indexes; the hashes say which file is meant
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def main(uv: str, venv: str) -> None:
    pip = [sys.executable, "-m", "pip", "config", "list"]
    config = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
    # pip trusts the system's certificates; what is set for uv itself wins
    environment = {"UV_SYSTEM_CERTS": "true", "UV_NO_CONFIG": "true"} | uv_variables(config) | os.environ
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):  # Python would compile everything again at each start
        environment |= {"UV_COMPILE_BYTECODE": "true"}
    install = [uv, "pip", "install", "--python", venv, "--no-deps"]
    with tempfile.TemporaryDirectory() as folder:
        lock = json.loads((ROOT / "Pipfile.lock").read_text())
        files = [Path(folder) / "uv.txt", Path(folder) / "pip.txt"]
        for file, by_pip in zip(files, (False, True), strict=True):
            file.write_text(requirements(lock, by_pip))
        subprocess.run([*install, "--require-hashes", "-r", files[0]], check=True, env=environment)
        pip = [str(Path(venv) / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", files[1]], check=True)
    # setuptools, which builds it, is in the lock
    subprocess.run([*install, "--no-build-isolation", "-e", ROOT], check=True, env=environment)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
