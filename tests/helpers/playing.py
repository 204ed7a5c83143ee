"""A small model to play, and a listener without a browser that hears at the pace of a sound card."""

import gc
import json
import struct
import time

import numpy as np
import websocket

from audiornn.backend import keras
from audiornn.codec import CodecSettings
from audiornn.models import storage
from audiornn.models.base import TrainingWindow

PRIMED = 0.1  # seconds that a page holds before it plays
TINY = {"name": "audiornn", "dense": 16, "units": 16, "layers": 2}


def save_model(folder, seed=0, rate=8000, sizes=TINY):
    """Leave a model with random weights, loud and never certain."""
    keras.utils.set_random_seed(seed)
    made = storage.build(**sizes)
    random = np.random.default_rng(seed)
    for variable in made.trainable_variables:
        variable.assign(variable + 0.1 * random.standard_normal(variable.shape))
    made.codec, made.window = CodecSettings(rate, 20.0, 0.95), TrainingWindow(100, 400)
    storage.save(made, folder)


class Ear:
    """A connection that counts what it hears.

    Attributes
    ----------
    news
        All JSON messages.
    pcm, bits
        Of the stream that is heard: samples int16 [n], bits per sample of each block.
    played, heard
        Samples of the stream, and seconds of all streams, that were heard.
    underruns
        How often there was nothing to hear.
    """

    def __init__(self, address, **options):
        self.address = address
        options = {"origin": address, "timeout": 60} | options
        self._socket = websocket.create_connection(f"{address.replace('http', 'ws')}/listen", **options)
        self.news, self.blocks, self.bits, self.received = [], [], [], 0
        self.underruns, self._since, self.played, self.rate, self.heard = 0, None, 0, None, 0.0

    def __enter__(self):
        gc.disable()  # a full collection of TensorFlow's objects takes longer than there is audio
        return self

    def __exit__(self, *_):
        gc.enable()
        self._socket.close()

    @property
    def pcm(self):
        return np.concatenate(self.blocks)

    def ask(self, **request):
        self.send(json.dumps(request))

    def send(self, message):
        """Send a text, or bytes."""
        binary = isinstance(message, bytes)
        self._socket.send(message, websocket.ABNF.OPCODE_BINARY if binary else websocket.ABNF.OPCODE_TEXT)

    def next(self, seconds):
        """The next JSON message, or None after that many seconds or a block of audio."""
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        if isinstance(data, bytes):
            number, bits = struct.unpack("<If", data[:8])
            if number == self.stream:
                self.blocks.append(np.frombuffer(data[8:], "<i2"))
                self.bits.append(bits)
                self.received += len(self.blocks[-1])
            return None
        self.news.append(json.loads(data))
        if "stream" in self.news[-1]:
            self.stream, self.rate = self.news[-1]["stream"], self.news[-1]["sample_rate"]
            self.blocks, self.bits, self.received, self.played, self._since = [], [], 0, 0, None
        return self.news[-1]

    def answer(self, *keys, seconds=60):
        """The next message with one of these keys, while nothing more is heard."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            news = self.next(0.1)
            if news and set(keys) & news.keys():
                return news
        raise AssertionError(f"no {' or '.join(keys)} came; last: {self.news[-1:]}")

    def hear(self, seconds):
        """Listen until so much more was heard; gives the news meanwhile."""
        before, end, deadline = len(self.news), self.heard + seconds, time.monotonic() + seconds + 60
        while self.heard < end:
            self.next(0.01)
            now = time.monotonic()
            assert now < deadline, "nothing more is to be heard"
            if not self.rate:
                continue
            if self._since is None:
                if self.received - self.played >= PRIMED * self.rate:
                    self._since = now - self.played / self.rate
                continue
            due = int((now - self._since) * self.rate)
            if due > self.received:
                self.underruns += 1
                due, self._since = self.received, None
            if due > self.played:
                self.heard += (due - self.played) / self.rate
                self.played = due
                self.ask(played=due, stream=self.stream)
        self._since = None  # paused
        return self.news[before:]

    def hear_until(self, key, seconds=60):
        """Listen until there is news of this kind."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for news in self.hear(0.1):
                if key in news:
                    return news
        raise AssertionError(f"no {key} came; last: {self.news[-1:]}")
