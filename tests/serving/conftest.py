"""The bundled tiny judge."""

import pytest
from serving_clips import Gate

from dramaeval import Judge


@pytest.fixture(scope="session")
def judge():
    return Judge.load("tiny", device="cpu")


@pytest.fixture
def gate(judge):
    gate = Gate(judge)
    yield gate
    gate.open.set()
