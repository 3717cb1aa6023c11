"""Clips with different texts, and a gate before a judge, for tests of the server."""

import threading
from contextlib import contextmanager

import numpy as np

TASK = "role"
RATE = 16_000


def wave(number, seconds=0.6):
    """A clip that no other number has."""
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
    """Holds a judge before each call of `score`, and notes the number of clips of each call."""

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
