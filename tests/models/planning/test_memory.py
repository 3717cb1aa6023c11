"""Memory of a process under ZeRO; the figures are ZeRO's own (arXiv 1910.02054, section 3), by hand."""

import pytest

from dramaeval.models.planning.memory import estimate

ALL = {
    "total": 1000,
    "trainable": 1000,
    "bytes_per_weight": 4,
    "tokens": 0,
    "hidden": 1,
    "layers": 1,
}


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"),
    [(0, 4000, 4000, 8000), (1, 4000, 4000, 2000), (2, 4000, 1000, 2000), (3, 1000, 1000, 2000)],
)
def test_a_quarter_each(stage, weights, gradients, optimizer):
    found = estimate(**ALL, stage=stage, processes=4)
    assert (found.weights, found.gradients, found.optimizer) == (weights, gradients, optimizer)
    assert found.total == weights + gradients + optimizer


def test_what_is_offloaded_is_in_the_hosts_memory():
    found = estimate(**ALL, stage=3, processes=4, offload=(True, True))
    assert (found.total, found.host) == (1000, 3000)
