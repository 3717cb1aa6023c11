"""The pairs of a shared prefix as one mask, which `benchmarks.gpu` compares attentions with."""

import torch

from benchmarks.gpu.attention import visible
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout


def test_visible_pairs():
    # Prefix of two tokens and one of padding; two branches of two tokens.
    layout = SharedPrefixLayout(torch.tensor([[True, True, False]]), 2, 2)
    wanted = [
        "1......",
        "11.....",
        "11.....",
        "11.1...",
        "11.11..",
        "11...1.",
        "11...11",
    ]
    found = ["".join("1" if seen else "." for seen in row) for row in visible(layout).tolist()]
    # What a padded query sees does not matter.
    assert [row for at, row in enumerate(found) if at != 2] == [
        row for at, row in enumerate(wanted) if at != 2
    ]
