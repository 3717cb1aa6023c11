"""Counts the steps of one call of ``train()``."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback


class StepsTaken(TrainerCallback):
    """Counts steps; an epoch in which none was taken is neither evaluated nor saved at its end."""

    def __init__(self) -> None:
        self.first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember the step that training starts or resumes at."""
        self.first = state.global_step

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Undo what ``eval_strategy=epoch`` and ``save_strategy=epoch`` request."""
        if not self.count(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def count(self, state: Any) -> int:
        """Steps since training began or resumed."""
        return int(state.global_step - self.first)
