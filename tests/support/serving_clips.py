"""Clips with different texts, and a judge that waits for a test, for tests of the server."""

import threading
from contextlib import contextmanager

import numpy as np

TASK = "role"
RATE = 16_000


def wave(number, seconds=0.6):
    """Random samples that differ for each number, ``[samples]``."""
    rng = np.random.default_rng(number)
    return (rng.standard_normal(round(RATE * seconds)) * (0.02 + 0.02 * number)).astype("float32")


def texts(number):
    return {
        "scene": f"Evening {number}: the crew waits.",
        "profile": f"Number {number} of the crew.",
        "age": "Adult",
        "style": "Calm",
        "transcript": f"That makes {number}.",
    }


class Gate:
    """Wraps a judge: each call of `score` waits until ``open`` is set; ``sizes`` has the number of clips per call."""

    def __init__(self, judge):
        self.judge = judge
        self.open, self.entered = threading.Event(), threading.Event()
        self.sizes = []

    def score(self, audio, *arguments, **named):
        self.sizes.append(len(audio))
        self.entered.set()
        assert self.open.wait(60)
        return self.judge.score(audio, *arguments, **named)

    def compare(self, *arguments, **named):
        return self.judge.compare(*arguments, **named)


@contextmanager
def started(scorer):
    scorer.start()
    try:
        yield scorer
    finally:
        scorer.stop()
