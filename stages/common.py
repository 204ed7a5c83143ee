"""Common code of the stages: parameters, one-line errors, files of the workspace."""

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from audiornn import params
from audiornn.common.errors import AudioRNNError, one_line
from audiornn.common.interrupts import interrupted_by_signals

# Queued DVC experiments run in a temporary copy that holds only what Git or DVC tracks. DVC_ROOT is the workspace that
# they were queued from, with untracked recordings and the MLflow store.
WORKSPACE = Path(os.environ.get("DVC_ROOT") or Path.cwd())
BEGIN = time.perf_counter()

# Imports and traced graphs are millions of small objects that stay. By Python's defaults, which start a collection
# after some hundreds of new ones, looking for garbage among them takes a tenth of a short stage.
gc.set_threshold(50_000, 20, 100)


def run(stage: Callable[[params.Params], None]) -> None:
    """Run a stage; an error that the user can fix gives one line on stderr and exit code 2, as one of files does."""
    try:
        with interrupted_by_signals():
            stage(params.load())
    except (AudioRNNError, OSError) as error:
        for line in str(error).splitlines():
            print(f"error: {one_line(line, 500)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def resolve(path: str | Path) -> Path:
    """The path itself if it exists, else relative to the workspace."""
    return Path(path) if Path(path).exists() else WORKSPACE / path


def seconds() -> float:
    """Wall-clock seconds since the stage began."""
    return round(time.perf_counter() - BEGIN, 3)


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MB (10^6 bytes)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
