"""The clips of a step are divided over the processes; no clip is repeated."""

import itertools

import pytest

from dramaeval.config.batch_size import StepSize
from dramaeval.training.step_batches import EpochOrder, StepBatchSampler, record_of, split_step


def test_a_full_step_is_divided_in_order():
    assert split_step([9, 8, 7, 6, 5, 4, 3, 2], StepSize(2, 2, 2)) == [
        [[9, 8], [7, 6]],
        [[5, 4], [3, 2]],
    ]


def test_a_step_with_fewer_clips_than_processes_gets_fillers():
    (turn,) = split_step([5], StepSize(2, 3, 2))
    assert turn[0] == [5]
    assert [record_of(number) for number in turn[1]] == [5]
    assert all(number < 0 for number in turn[1])


@pytest.mark.parametrize("count", [1, 7, 8, 9, 23])
@pytest.mark.parametrize(
    ("per_device", "accumulate", "processes"), [(8, 1, 1), (2, 2, 2), (1, 2, 4)]
)
def test_a_step_has_the_same_clips_for_any_number_of_processes(
    count, per_device, accumulate, processes
):
    order = EpochOrder(count, seed=5)
    order.set_epoch(3)
    step = StepSize(per_device, accumulate, processes)
    ranks = [StepBatchSampler(order, step, rank) for rank in range(processes)]
    batches = [list(sampler) for sampler in ranks]
    assert {len(of_rank) for of_rank in batches} == {len(ranks[0])}
    records = list(order)
    for at, start in enumerate(range(0, count, 8)):
        turns = range(at * accumulate, min((at + 1) * accumulate, len(batches[0])))
        seen = itertools.chain.from_iterable(of_rank[turn] for turn in turns for of_rank in batches)
        assert sorted(number for number in seen if number >= 0) == sorted(
            records[start : start + 8]
        )
    assert all(len(batch) <= per_device for of_rank in batches for batch in of_rank)
