"""Sentences for synthesised speech: varied, of a grammar without gaps."""

import re
from itertools import islice

import numpy as np

import audiornn.corpus.synthetic.sentences as grammar
from audiornn.corpus.synthetic.sentences import sentences


def test_an_hour_of_sentences_hardly_repeats_any():
    said = list(islice(sentences(np.random.default_rng(5)), 1000))
    assert len(set(said)) >= 999
    assert all(text[0].isupper() and text[-1] in ".?" and "<" not in text for text in said)
    assert all(6 <= len(text.split()) <= 30 for text in said)


def test_every_rule_of_the_grammar_is_used_and_defined():
    used = {name for options in grammar.GRAMMAR.values() for text in options for name in re.findall("<(.*?)>", text)}
    assert used | {"sentence"} == set(grammar.GRAMMAR)
    assert all(len(set(options)) == len(options) for options in grammar.GRAMMAR.values())
