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

#: Rows, one a group: the number of a record, the epoch, and the place of the question (0 where it is absent).
Rows = Sequence[Mapping[str, int]]


class GRPOTraining(Protocol):
    """What an estimator uses of `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`.

    Attributes:
        num_generations: completions of a group.
        scale_rewards: ``group``, ``batch`` or ``none``.
        groups_per_pass: groups of a forward pass and process.
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
        """The group of each row; raises BadRecordsError where the model has too few positions for one."""

    def read(self, group: PromptGroup, number: int, tokens: Sequence[int]) -> Completion:
        """A completion, with the number of its group in the batch, as rewards see it."""

    def scoring(self, groups: Sequence[PromptGroup]) -> AbstractContextManager[None]:
        """Let TRL score completions of these groups, one group a completion, in this block."""

    def score(
        self, groups: Sequence[PromptGroup], inputs: Pass, *, reference: bool = False
    ) -> torch.Tensor:
        """Log-probabilities of completions' tokens under the policy or the reference, without gradients."""


class Estimator(Protocol):
    """Creates completions, and the inputs that give them their weight in the loss."""

    def generate(self, training: GRPOTraining, rows: Rows) -> list[Pass]:
        """The passes of a new generation; a pass holds all completions of its groups."""

    def loss_inputs(
        self,
        training: GRPOTraining,
        inputs: Pass,
        groups: Sequence[PromptGroup],
        scores: TokenScores,
    ) -> Pass:
        """The inputs of TRL's loss.

        Args:
            training: the trainer.
            inputs: of the pass.
            groups: one for each completion.
            scores: of the completions' tokens, with gradients.
        """


def pass_rows(rows: Rows, sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """The record (``row``), epoch and place of each completion, from those of each group and the groups' sizes."""
    repeats = torch.tensor(sizes)
    return {
        "row": torch.tensor([row["record"] for row in rows]).repeat_interleave(repeats),
        "epoch": torch.tensor([row["epoch"] for row in rows]).repeat_interleave(repeats),
        "place": torch.tensor([row.get("place", 0) for row in rows]).repeat_interleave(repeats),
    }
