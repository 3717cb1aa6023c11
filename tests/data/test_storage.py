"""Asking the file system about many files at a time."""

import threading

import pytest

from dramaeval.data.parallel_io import ask_each


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_each_is_asked_once_and_order_is_kept(workers, count):
    asked = []
    found = ask_each(lambda one: (asked.append(one), one * one)[1], range(count), workers)
    assert list(found.items()) == [(one, one * one) for one in range(count)]
    assert sorted(asked) == list(range(count))


def test_several_ask_at_the_same_time():
    """Each waits for the others: one after another they would wait in vain."""
    together = threading.Barrier(4, timeout=20)
    ask_each(lambda _: together.wait(), range(4), workers=4)


def test_a_mistake_is_told():
    with pytest.raises(ZeroDivisionError):
        ask_each(lambda one: 1 // one, [1, 0], workers=2)
