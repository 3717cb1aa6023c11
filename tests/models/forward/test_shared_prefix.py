"""Attention over prefix and branches against PyTorch's own causal attention, one sequence a branch."""

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
    """Queries, keys and values of some rows."""

    def build(rows, tokens, before=0):
        torch.manual_seed(0)
        widths = (tokens, before + tokens, before + tokens)
        return [
            torch.randn(rows, HEADS, width, SIZE, dtype=torch.float64, requires_grad=True)
            for width in widths
        ]

    return build


def alone(query, key, value, real, branch, width):
    """What the tokens of a row's branch get where the sequence holds its real prefix and this branch only."""
    own = torch.arange(len(real) + branch * width, len(real) + (branch + 1) * width)
    before = key.shape[1] - query.shape[1]
    at = torch.cat([real.nonzero()[:, 0], own])
    keys = torch.cat([torch.arange(before), at + before])
    seen = torch.ones(len(at), len(keys), dtype=torch.bool).tril(diagonal=before)
    return plain(query[:, at], key[:, keys], value[:, keys], seen)[:, -width:]


# Of 23 tokens, with a chunk of 8: two whole chunks and one of 7; with one of 40 they are one.
@pytest.mark.parametrize("chunk", [1, 8, 40])
@pytest.mark.parametrize("lengths", [(5,), (5, 2, 4)])
@pytest.mark.parametrize("before", [0, 3])
def test_each_branch_is_as_if_alone(states, monkeypatch, chunk, lengths, before):
    monkeypatch.setattr(shared_prefix, "CHUNK", chunk)
    width = 23
    prefix = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    layout = SharedPrefixLayout(prefix=prefix, count=COUNT, width=width)
    query, key, value = states(len(lengths), prefix.shape[1] + COUNT * width, before)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    weights = torch.randn(HEADS, width, SIZE, dtype=torch.float64)
    outputs, _ = shared_prefix_attention(module, query, key, value, layout.as_mask())
    outputs = outputs[:, prefix.shape[1] :].unflatten(1, (COUNT, width)).transpose(2, 3)
    for row, real in enumerate(prefix):
        for branch in range(COUNT):
            expected = alone(query[row], key[row], value[row], real, branch, width)
            output = outputs[row, branch]
            torch.testing.assert_close(output, expected)
            gradients, expected_gradients = (
                torch.autograd.grad(
                    (values * weights).sum(), (query, key, value), retain_graph=True
                )
                for values in (output, expected)
            )
            torch.testing.assert_close(gradients, expected_gradients)


def test_pairs_a_branch_may_not_see_are_mostly_not_computed(states):
    width = 4 * shared_prefix.CHUNK
    layout = SharedPrefixLayout(prefix=torch.ones(1, 5, dtype=torch.bool), count=COUNT, width=width)
    query, key, value = states(1, 5 + COUNT * width)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    # Of the backends, the counter knows the products of this one on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        shared_prefix_attention(module, query, key, value, layout.as_mask())
    pairs = 5 * 5 + COUNT * (width * 5 + width * width * 5 // 8)
    assert counter.get_total_flops() == 4 * pairs * HEADS * SIZE
