"""GRPO on answers that begin with a thought: metrics of the thoughts, and masking of truncated completions."""

import pytest

from dramaeval.config.batch_size import StepSize
from dramaeval.training.grpo.arguments import MASK, completion_arguments
from dramaeval.training.grpo.dimension_metrics import DimensionMetrics
from dramaeval.training.rewards.completion import Completion, FieldAnswer


def completion(**thought):
    answer = FieldAnswer(
        dimension="pitch", scale=(1, 2, 3), options=False, choice=None, ratings=(1.0,), wanted=0
    )
    return Completion(
        id="a", group=0, text="", tokens=9, finished=True, well_formed=False, answers=(answer,), **thought
    )  # fmt: skip


def test_metrics_have_the_length_of_thoughts_and_the_share_without_an_end():
    metrics = DimensionMetrics()
    written = [
        completion(thought="Calm.", thought_tokens=2),
        completion(thought="And so", thought_tokens=6, thought_ended=False),
        completion(),
    ]
    metrics.add_group(written, [1.0, 0.0, 0.0])
    figures = DimensionMetrics.merged([DimensionMetrics(), metrics]).summary()
    assert figures["pitch/thought_length"] == pytest.approx(4)
    assert figures["pitch/thought_unfinished"] == pytest.approx(0.5)
    without = DimensionMetrics()
    without.add_group([completion()], [1.0])
    assert "pitch/thought_length" not in without.summary()


@pytest.mark.parametrize(
    ("overrides", "masked"),
    [
        (("task=role",), False),
        (("task=mixed",), False),
        (("task=role_emotion",), True),
        (("task=role_emotion", "trainer.args.mask_truncated_completions=false"), False),
        (("task=role", "trainer.args.mask_truncated_completions=true"), True),
    ],
)
def test_truncated_completions_are_masked_by_default_only_for_tasks_with_thoughts(
    composed, overrides, masked
):
    config = composed("trainer=grpo", *overrides)
    arguments = completion_arguments(config, StepSize(per_device=2, accumulation=1, processes=1))
    assert arguments[MASK] is masked
