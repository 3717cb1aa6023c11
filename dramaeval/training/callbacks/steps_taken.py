"""Counts the steps of one call of ``train()``, and keeps the sums of the weights before them."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from dramaeval.training.training_effect import WeightSums, weight_sums


class StepsTaken(TrainerCallback):
    """Counts steps; an epoch in which none was taken is neither evaluated nor saved at its end."""

    def __init__(self) -> None:
        self.first = 0
        self.start: WeightSums | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Remember the step that training starts or resumes at, and the weights, unless ZeRO divides them."""
        self.first = state.global_step
        self.start = None if args.deepspeed else weight_sums(model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Undo what ``eval_strategy=epoch`` and ``save_strategy=epoch`` request."""
        if not self.count(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def count(self, state: Any) -> int:
        """Steps since training began or resumed."""
        return int(state.global_step - self.first)
