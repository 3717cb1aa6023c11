"""The interface of GRPO's estimators: `sampled_estimator` and `enumerated_estimator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.grpo.dimension_metrics import DimensionMetrics
from dramaeval.training.grpo.policy_scorer import PolicyScorer, TokenScores
from dramaeval.training.grpo.prompt_groups import PromptGroup
from dramaeval.training.grpo.saved_generation import Pass
from dramaeval.training.rewards.completion import Completion
from dramaeval.training.rewards.weighted_rewards import WeightedRewards
from dramaeval.training.step_statistics import StepStatistics

#: One row per group: the number of a record, the epoch, and the place of the question (0 if it is absent).
Rows = Sequence[Mapping[str, int]]


class GRPOTraining(Protocol):
    """The part of `dramaeval.training.grpo.trainer.JudgeGRPOTrainer` that estimators use.

    Attributes:
        num_generations: number of completions of a group.
        scale_rewards: ``group``, ``batch`` or ``none``.
        groups_per_pass: number of groups in a forward pass of one process.
        needs_old_policy: whether the weights change between the passes over a generation.
        uses_reference: whether the loss has a distance from the reference (``beta``).
    """

    accelerator: Any
    record_encoder: RecordEncoder
    rewards: WeightedRewards
    scorer: PolicyScorer
    statistics: StepStatistics
    by_dimension: DimensionMetrics
    num_generations: int
    scale_rewards: str
    groups_per_pass: int
    needs_old_policy: bool
    uses_reference: bool

    def groups_of(self, rows: Rows) -> list[PromptGroup]:
        """The group of each row; raises BadRecordsError if the model has too few positions for a group."""

    def read(self, group: PromptGroup, number: int, tokens: Sequence[int]) -> Completion:
        """Make the input of the rewards from the tokens of a completion; ``number`` is the number of its group."""

    def scoring(self, groups: Sequence[PromptGroup]) -> AbstractContextManager[None]:
        """Set the groups of the completions that TRL scores in this block, one group per completion."""

    def score(
        self, groups: Sequence[PromptGroup], inputs: Pass, *, reference: bool = False
    ) -> torch.Tensor:
        """Log-probabilities of the tokens of completions under the policy or the reference, without gradients."""


class Estimator(Protocol):
    """Creates completions, and the inputs of the loss that weight them."""

    def generate(self, training: GRPOTraining, rows: Rows) -> list[Pass]:
        """Make the passes of a new generation; the completions of a group are in the same pass."""

    def loss_inputs(
        self,
        training: GRPOTraining,
        inputs: Pass,
        groups: Sequence[PromptGroup],
        scores: TokenScores,
    ) -> Pass:
        """Make the inputs of TRL's loss.

        Args:
            training: the trainer.
            inputs: the inputs of the pass.
            groups: the group of each completion.
            scores: scores of the tokens of the completions, with gradients.
        """


def pass_rows(rows: Rows, sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """The record (``row``), epoch and place of each completion, from the rows and the sizes of the groups."""
    repeats = torch.tensor(sizes)
    return {
        "row": torch.tensor([row["record"] for row in rows]).repeat_interleave(repeats),
        "epoch": torch.tensor([row["epoch"] for row in rows]).repeat_interleave(repeats),
        "place": torch.tensor([row.get("place", 0) for row in rows]).repeat_interleave(repeats),
    }
