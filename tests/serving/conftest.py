"""Fixtures: the bundled tiny judge, this judge behind a gate that a test opens, and a browser."""

import pytest
from browser import chromium
from serving_clips import Gate

from dramaeval import Judge

__all__ = ["chromium"]


@pytest.fixture(scope="session")
def judge():
    return Judge.load("tiny", device="cpu")


@pytest.fixture
def gate(judge):
    gate = Gate(judge)
    yield gate
    gate.open.set()
