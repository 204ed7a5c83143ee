"""What people see while they wait."""

import gc
import sys
import time

import pytest

from audiornn.common import waits
from tests.helpers.terminal import in_terminal

CODE = """
import time
from audiornn.common import waits
waits.AFTER_SECONDS = 0.2
with waits.announced("counting"):
    time.sleep({seconds})
print("done")
"""


@pytest.mark.parametrize(("seconds", "said"), [(0.6, "\r\x1b[Kcounting ...\r\x1b[Kdone\r\n"), (0, "done\r\n")])
def test_a_wait_is_explained_only_if_it_takes_more_than_a_moment_and_leaves_no_trace(seconds, said):
    assert in_terminal([sys.executable, "-c", CODE.format(seconds=seconds)]) == (said, 0)


def test_a_wait_that_fails_leaves_no_trace_either():
    code = CODE.format(seconds=0.6).replace('print("done")', "").replace("time.sleep(0.6)", "time.sleep(0.6); exit(3)")
    assert in_terminal([sys.executable, "-c", code]) == ("\r\x1b[Kcounting ...\r\x1b[K", 3)


def test_nothing_is_printed_without_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr(waits, "AFTER_SECONDS", 0.0)
    with waits.announced("counting"):
        time.sleep(0.05)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("collecting", [True, False])
def test_an_import_collects_no_garbage_and_leaves_collections_as_they_were(collecting):
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(ImportError), waits.importing("nothing"):
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.slow
def test_the_import_of_tensorflow_is_announced_and_does_without_what_takes_a_third_of_it():
    code = "from audiornn.common import waits; waits.AFTER_SECONDS = 0; import audiornn.backend, sys; "
    code += "assert not {'sklearn', 'matplotlib'} & {*sys.modules}; import matplotlib.pyplot"
    said, code = in_terminal([sys.executable, "-c", code])
    assert (said, code) == ("\r\x1b[Kimporting TensorFlow ...\r\x1b[K", 0)


@pytest.mark.slow
def test_a_training_without_clips_imports_neither_scipy_signal_nor_matplotlib():
    code = "import stages.train, sys; found = {'scipy.signal', 'matplotlib'} & {*sys.modules}; assert not found, found"
    assert in_terminal([sys.executable, "-c", code])[1] == 0
