"""The interface of GRPO's estimators: `sampled_estimator` and `enumerated_estimator`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from dramaeval.training.grpo.policy_scorer import TokenScores
from dramaeval.training.grpo.prompt_groups import PromptGroup, Rows
from dramaeval.training.grpo.saved_generation import Pass


class Estimator(ABC):
    """Creates completions, and the inputs of the loss that weight them.

    The argument ``trainer`` is a `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`.
    """

    @abstractmethod
    def generate(self, trainer: Any, rows: Rows) -> list[Pass]:
        """Make the passes of a new generation; the completions of a group are in the same pass."""

    @abstractmethod
    def loss_inputs(
        self, trainer: Any, inputs: Pass, groups: Sequence[PromptGroup], scores: TokenScores
    ) -> Pass:
        """Make the inputs of TRL's loss.

        Args:
            trainer: the trainer.
            inputs: the inputs of the pass.
            groups: the group of each completion.
            scores: scores of the tokens of the completions, with gradients.
        """
