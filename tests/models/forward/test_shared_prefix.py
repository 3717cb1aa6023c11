"""Attention over a shared prefix and branches, compared with PyTorch's causal attention over one sequence per branch."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as plain
from torch.utils.flop_counter import FlopCounterMode

from dramaeval.models.forward import shared_prefix
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout, shared_prefix_attention

HEADS, SIZE, COUNT = 2, 8, 3


@pytest.fixture
def states():
    """Random queries, keys and values."""

    def build(rows, tokens, before=0):
        torch.manual_seed(0)
        widths = (tokens, before + tokens, before + tokens)
        return [
            torch.randn(rows, HEADS, width, SIZE, dtype=torch.float64, requires_grad=True)
            for width in widths
        ]

    return build


def separate_attention(query, key, value, real, branch, width, window):
    """Causal attention over the row's prefix without padding and one branch, within a sliding window."""
    branch_tokens = torch.arange(len(real) + branch * width, len(real) + (branch + 1) * width)
    before = key.shape[1] - query.shape[1]
    at = torch.cat([real.nonzero()[:, 0], branch_tokens])
    keys = torch.cat([torch.arange(before), at + before])
    position = torch.arange(len(at)) + before
    distance = position[:, None] - torch.arange(len(keys))
    visible = (distance >= 0) & (distance < (window or len(keys)))
    return plain(query[:, at], key[:, keys], value[:, keys], visible)[:, -width:]


# A branch of 23 tokens: two chunks of 8 and one of 7; one chunk of 40.
@pytest.mark.parametrize("chunk", [1, 8, 40])
@pytest.mark.parametrize("lengths", [(5,), (5, 2, 4)])
@pytest.mark.parametrize(("before", "window"), [(0, None), (3, None), (0, 6), (3, 6)])
def test_branches_equal_separate_sequences(states, monkeypatch, chunk, lengths, before, window):
    monkeypatch.setattr(shared_prefix, "CHUNK", chunk)
    width = 23
    prefix = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    layout = SharedPrefixLayout(prefix=prefix, count=COUNT, width=width)
    query, key, value = states(len(lengths), prefix.shape[1] + COUNT * width, before)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    weights = torch.randn(HEADS, width, SIZE, dtype=torch.float64)
    outputs, _ = shared_prefix_attention(
        module, query, key, value, layout.as_mask(), sliding_window=window
    )
    outputs = outputs[:, prefix.shape[1] :].unflatten(1, (COUNT, width)).transpose(2, 3)
    for row, real in enumerate(prefix):
        for branch in range(COUNT):
            expected = separate_attention(
                query[row], key[row], value[row], real, branch, width, window
            )
            output = outputs[row, branch]
            torch.testing.assert_close(output, expected)
            gradients, expected_gradients = (
                torch.autograd.grad(
                    (values * weights).sum(), (query, key, value), retain_graph=True
                )
                for values in (output, expected)
            )
            torch.testing.assert_close(gradients, expected_gradients)


def test_a_window_counts_positions_along_the_path_of_a_tree():
    # Two answers follow one token, so both have the position after it.
    layout = SharedPrefixLayout(
        torch.tensor([[True, True, True, False]]), 1, 3, torch.tensor([[[3, 2, 3]]])
    )
    visible = layout.visible_in_window(layout.visible_keys(), earlier=1, window=2)[0, 0]
    # Keys: an earlier one, positions 0 to 2 and padding, then the tokens at positions 3, 4 and 4.
    expected = [[0, 0, 0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1, 0, 1]]
    assert visible.int().tolist() == expected
    near = layout.visible_in_window(layout.visible_keys(), earlier=1, window=5)[0, 0]
    assert near[:, :2].int().tolist() == [[1, 1], [0, 1], [0, 1]]


def test_most_masked_pairs_are_not_computed(states):
    width = 4 * shared_prefix.CHUNK
    layout = SharedPrefixLayout(prefix=torch.ones(1, 5, dtype=torch.bool), count=COUNT, width=width)
    query, key, value = states(1, 5 + COUNT * width)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    # On a CPU, the counter counts the products of this backend only.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        shared_prefix_attention(module, query, key, value, layout.as_mask())
    pairs = 5 * 5 + COUNT * (width * 5 + width * width * 5 // 8)
    assert counter.get_total_flops() == 4 * pairs * HEADS * SIZE
