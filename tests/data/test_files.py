"""`map_files` calls a function for many files in several threads."""

import threading

import pytest

from dramaeval.data.files import map_files


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_each_file_is_read_once_and_the_order_is_kept(workers, count):
    calls = []
    results = map_files(lambda item: (calls.append(item), item * item)[1], range(count), workers)
    assert list(results.items()) == [(item, item * item) for item in range(count)]
    assert sorted(calls) == list(range(count))


def test_threads_run_at_the_same_time():
    """Each call waits for the other three; calls one after the other would time out."""
    barrier = threading.Barrier(4, timeout=20)
    map_files(lambda _: barrier.wait(), range(4), workers=4)


def test_an_exception_of_the_function_is_raised():
    with pytest.raises(ZeroDivisionError):
        map_files(lambda item: 1 // item, [1, 0], workers=2)
