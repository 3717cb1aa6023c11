"""Memory of a process with ZeRO, compared with values by hand from arXiv 1910.02054, section 3."""

import pytest

from dramaeval.models.planning.memory import estimate

SIZES = {
    "total": 1000,
    "trainable": 1000,
    "bytes_per_weight": 4,
    "tokens": 0,
    "hidden": 1,
    "layers": 1,
    "inner": 1,
}


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"),
    [(0, 4000, 4000, 8000), (1, 4000, 4000, 2000), (2, 4000, 1000, 2000), (3, 1000, 1000, 2000)],
)
def test_memory_of_one_of_four_processes_by_stage(stage, weights, gradients, optimizer):
    memory = estimate(**SIZES, stage=stage, processes=4)
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, gradients, optimizer)
    assert memory.total == weights + gradients + optimizer


def test_offloaded_states_are_counted_as_host_memory():
    memory = estimate(**SIZES, stage=3, processes=4, offload=(True, True))
    assert (memory.total, memory.host) == (1000, 3000)
