"""Scores of a model on the shards."""

import math

import numpy as np
import pytest

from audiornn.backend import tf
from audiornn.models import storage
from audiornn.training import scores as scores_module


def test_scores_match_their_definitions(make_shards):
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, 90, dtype=np.uint8)
    folder = make_shards({"a": codes}, 10, 30)  # the last window holds 20 targets
    model = storage.build("audiornn", dense=8, units=8, layers=1)
    model.head.kernel.assign(random.standard_normal(model.head.kernel.shape) * 3)
    scores = scores_module.evaluate(model, folder, batch_size=2)["test"]
    nats, hits, top5 = [], [], []
    for first in range(0, 80, 30):
        window = codes[first : first + 40]
        logits = model(window[None, :-1]).numpy()[0, 9:]
        labels = window[10:]
        log_p = tf.nn.log_softmax(logits).numpy()
        nats += list(-log_p[np.arange(len(labels)), labels])
        order = np.argsort(-logits, axis=-1)
        hits += list(order[:, 0] == labels)
        top5 += list((order[:, :5] == labels[:, None]).any(axis=1))
    assert scores["targets"] == 80 == len(nats)
    assert scores["bits_per_sample"] == pytest.approx(np.mean(nats) / math.log(2), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(np.mean(hits))
    assert scores["top5_accuracy"] == pytest.approx(np.mean(top5))
