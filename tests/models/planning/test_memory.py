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


def test_an_adapter_in_a_model_of_16_bits_is_counted_in_float32():
    """PEFT creates it so, and casts the input of each of the 7 adapted projections, which autograd stores."""
    sizes = {
        "total": 1000, "trainable": 10, "bytes_per_weight": 2, "tokens": 7, "hidden": 3, "layers": 2, "inner": 5,
    }  # fmt: skip
    memory = estimate(**sizes, float_adapter=True)
    assert memory.weights == 990 * 2 + 10 * 4
    assert (memory.gradients, memory.optimizer) == (10 * 4, 10 * 8)
    layer = 7 * (9 * 3 + 4 * 5) * 2 + 7 * (6 * 3 + 5) * 4
    assert memory.activations == 2 * layer
    assert (
        estimate(**sizes, float_adapter=True, checkpointing=True).activations
        == 2 * 7 * 3 * 2 + layer
    )
    assert estimate(**sizes).weights == 2000


def test_the_logits_are_counted_once_in_16_bits_and_twice_in_float32():
    sizes = {"total": 9, "trainable": 0, "bytes_per_weight": 2, "tokens": 7, "hidden": 3, "layers": 2, "inner": 5}  # fmt: skip
    more = estimate(**sizes, logits=100).activations - estimate(**sizes).activations
    assert more == 100 * (2 + 4 + 4)
