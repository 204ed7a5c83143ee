"""A PostgreSQL for the tests of tracking servers."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

USER = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL of our own, on a socket in a folder, as libpq's environment variables."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed: on Debian, apt-get install postgresql")
    place = Path(tempfile.mkdtemp(prefix="pg"))  # pytest's folders are closed to other users, and long for a socket
    if USER:
        shutil.chown(place, USER)

    def run(program, *arguments):
        subprocess.run(
            [programs[-1].with_name(program), "-D", place / "data", *arguments],
            **({"user": USER, "group": USER, "extra_groups": []} if USER else {}),
            cwd=place,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    try:
        run("initdb", "--username", "group", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={place} -c fsync=off"
        run("pg_ctl", "-w", "-l", str(place / "log"), "-o", options, "start")
        try:
            yield {"PGHOST": str(place), "PGUSER": "group", "PATH": f"{programs[-1].parent}:{os.environ['PATH']}"}
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place)
