"""The functions whose time `benchmarks.shares` samples."""

import ast
import threading
from collections import Counter

import pytest

from benchmarks import shares
from dramaeval.data import growing_file


@pytest.mark.parametrize("place", [shares.WHOLE, *shares.PARTS])
def test_each_function_exists(place):
    file, name = place
    tree = ast.parse((shares.ROOT / "dramaeval" / file).read_text(encoding="utf-8"))
    assert name in [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_samples_belong_to_the_innermost_part(monkeypatch, tmp_path):
    """The sampled function writes to a file, and waits between two writes."""
    here = (__file__, "writer")
    monkeypatch.setattr(shares, "WHOLE", here)
    monkeypatch.setattr(shares, "SECONDS", 0.001)
    sampled, end = threading.Event(), threading.Event()
    text = "x" * 1_000_000

    def writer():
        file = growing_file.GrowingFile(tmp_path / "lines")
        while not sampled.is_set():
            file.append(text)
            sampled.wait(0.001)

    thread = threading.Thread(target=writer)
    thread.start()
    counts = Counter()
    sampler = threading.Thread(target=shares.sample, args=(counts, end, thread.ident))
    sampler.start()
    while not (counts["writing"] and counts[shares.OTHER]):
        sampled.wait(0.01)
    sampled.set()
    thread.join()
    outside = counts.total()
    end.set()
    sampler.join()
    assert set(counts) == {"writing", shares.OTHER}
    assert shares.part_of(None) is None
    assert outside <= counts.total() <= outside + 1
