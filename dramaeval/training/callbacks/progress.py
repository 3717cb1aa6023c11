"""Progress of training on the terminal: the step, the loss, the validation, the time left."""

from __future__ import annotations

import logging
import time
from typing import Any

from transformers import TrainerCallback

from dramaeval.data.durations import duration

log = logging.getLogger(__name__)

#: The validation figures that are logged.
SHOWN = ("cross_entropy", "pearson", "mse", "pair_cross_entropy", "pair_accuracy")


class TrainingProgress(TrainerCallback):
    """Logs a line at every logged step and at every validation."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock at the step at which training begins or resumes."""
        self.began, self.first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Log step, loss, throughput and the time left."""
        if not logs or "loss" not in logs:
            return
        step_time = (time.monotonic() - self.began) / max(state.global_step - self.first, 1)
        log.info(
            "train: step %d of %d, loss %.3f, %.1f questions/s, %s left",
            state.global_step,
            state.max_steps,
            logs["loss"],
            logs.get("questions_per_second", 0.0),
            duration(step_time * (state.max_steps - state.global_step)),
        )

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Log the main figures of a validation."""
        if metrics:
            figures = [
                f"{name} {metrics[f'eval_{name}']:.3f}"
                for name in SHOWN
                if f"eval_{name}" in metrics
            ]
            log.info("val: step %d, %s", state.global_step, ", ".join(figures))
