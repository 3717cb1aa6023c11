"""Counts the steps of one call of ``train()``, and keeps sums of the weights before the first step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from dramaeval.training.training_effect import WeightSums, weight_sums


class StepsTaken(TrainerCallback):
    """Counts steps; if a training has taken no step yet, the end of an epoch does not evaluate or save."""

    def __init__(self) -> None:
        self.first = 0
        self.start: WeightSums | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Remember the step at which training begins or resumes, and sums of the weights, unless ZeRO splits them."""
        self.first = state.global_step
        self.start = None if args.deepspeed else weight_sums(model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cancel the requests of ``eval_strategy=epoch`` and ``save_strategy=epoch`` if no step was taken."""
        if not self.count(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def count(self, state: Any) -> int:
        """The number of steps since training began or resumed."""
        return int(state.global_step - self.first)
