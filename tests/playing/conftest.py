"""Models to play, and a server that plays them."""

import socket
import threading
from contextlib import contextmanager

import pytest

from audiornn.playing.choices import Choices
from audiornn.playing.server import application, web_server
from audiornn.playing.service import Service
from tests.helpers.playing import save_model


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A folder with three models: `models`, `other`, and `wide` of another sample rate."""
    folder = tmp_path_factory.mktemp("play")
    for seed, (name, rate) in enumerate({"models": 8000, "other": 8000, "wide": 16_000}.items()):
        save_model(folder / name, seed, rate)
    return folder


@pytest.fixture(scope="session")
def loaded(workspace):
    """The three models by name, ready to generate."""
    choices = Choices(workspace)
    return {name: choices.load(name) for name in ("models", "other", "wide")}


@contextmanager
def served(service):
    """The address of a server in a thread."""
    service.choices.refresh()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = web_server(application(service))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            service.close()


class Folders(Choices):
    """All three models of the workspace, as a store would list them."""

    def refresh(self):
        super().refresh()
        for name in ("other", "wide"):
            listed = Choices(self.workspace, name)
            self._choices |= {choice.id: choice for choice in listed.refresh()}
        return list(self._choices.values())


@pytest.fixture(scope="module")
def address(workspace, loaded):
    """A server that plays the three models."""
    with served(Service(Folders(workspace))) as url:
        yield url
