"""The attention mask of a shared prefix, with which `benchmarks.gpu` compares implementations of attention."""

import torch

from benchmarks.gpu.attention import visible
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout


def test_the_mask_has_the_visible_pairs_of_tokens():
    # Prefix of two tokens and one of padding; two branches of two tokens.
    layout = SharedPrefixLayout(torch.tensor([[True, True, False]]), 2, 2)
    expected = [
        "1......",
        "11.....",
        "11.....",
        "11.1...",
        "11.11..",
        "11...1.",
        "11...11",
    ]
    found = ["".join("1" if seen else "." for seen in row) for row in visible(layout).tolist()]
    # The row of the padding token has no meaning.
    assert [row for at, row in enumerate(found) if at != 2] == [
        row for at, row in enumerate(expected) if at != 2
    ]
