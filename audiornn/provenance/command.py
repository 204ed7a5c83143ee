"""The command that started a run."""

import shlex
import sys
from pathlib import Path


def command() -> str:
    """The command that started this process, as typed by the user: DVC's, or this program's own."""
    import psutil

    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        for i, word in enumerate(words[:3]):
            if Path(word).name == "dvc":
                arguments = words[i + 1 :]
                if arguments[:2] in (["exp", "exec-run"], ["exp", "queue-worker"]):
                    return "dvc queue start"
                return shlex.join(["dvc", *arguments])
    words = sys.orig_argv[1:] if sys.orig_argv[1:] and Path(sys.orig_argv[1]).name == "audiornn" else sys.orig_argv
    return shlex.join([Path(words[0]).name, *words[1:]])
