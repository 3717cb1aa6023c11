"""The number of clips per optimizer step, compared with factors by hand."""

from functools import cache

import pytest
from omegaconf import OmegaConf

from dramaeval.config.batch_size import BatchError, problems, step_size
from dramaeval.config.composition import compose

_defaults = cache(compose)
PER_DEVICE = "trainer.args.per_device_train_batch_size"
ACCUMULATION = "trainer.args.gradient_accumulation_steps"


def with_values(values):
    config = _defaults().copy()
    for key, value in values.items():
        OmegaConf.update(config, key, value)
    return config


@pytest.mark.parametrize(
    ("values", "processes", "factors"),
    [
        ({}, 1, (4, 1)),
        ({}, 4, (4, 1)),
        ({"batch.global": 64, "batch.per_device": 4}, 1, (4, 16)),
        ({"batch.global": 64, "batch.per_device": 4}, 2, (4, 8)),
        ({"batch.global": 64, "batch.per_device": 4}, 16, (4, 1)),
        ({"batch.global": 64, PER_DEVICE: 2}, 2, (2, 16)),
        ({"batch.global": 6}, 1, (3, 2)),  # the largest number up to 4 that divides 6
        ({"batch.global": 22}, 2, (1, 11)),
        ({PER_DEVICE: 3, ACCUMULATION: 5}, 2, (3, 5)),
        ({"batch.per_device": 3, ACCUMULATION: 5}, 1, (3, 5)),
        ({"batch.global": 30, "batch.per_device": 3, ACCUMULATION: 5}, 2, (3, 5)),
    ],
)
def test_clips_per_device_and_accumulated_batches(values, processes, factors):
    step = step_size(with_values(values), processes)
    assert (step.per_device, step.accumulation) == factors
    assert step.clips == factors[0] * factors[1] * processes


@pytest.mark.parametrize(
    ("values", "processes", "message"),
    [
        ({"batch.global": 64}, 3, "Nearest that do: batch.global=63 or 66, or processes=2 or 4"),
        ({"batch.global": 2}, 3, "Nearest that do: batch.global=3, or processes=2"),
        ({"batch.global": 64, "batch.per_device": 5}, 2,
         "leaves 32 clips each.*batch.per_device=4 or 8, or batch.global=60 or 70"),
        ({"batch.global": 64, "batch.per_device": 4, ACCUMULATION: 2}, 2,
         "needs 8 accumulated batches, but trainer.args.gradient_accumulation_steps=2"),
        ({"batch.per_device": 4, PER_DEVICE: 2}, 1, "contradicts"),
        ({ACCUMULATION: 0}, 1, "steps=0 must be a whole number of 1 or more"),
    ],
)  # fmt: skip
def test_a_global_batch_that_cannot_be_divided_is_an_error_with_the_nearest_sizes(
    values, processes, message
):
    with pytest.raises(BatchError, match=message):
        step_size(with_values(values), processes)


def test_a_size_below_1_is_reported_once_by_the_schema():
    assert problems(with_values({"batch.global": 0})) == []
    (problem,) = problems(with_values({"batch.global": 64, "processes": 3}))
    assert "does not divide among 3 processes" in problem
