"""Early stopping: the callback of transformers, with a message and a rule for undefined figures."""

from __future__ import annotations

import logging
from typing import Any

from transformers import EarlyStoppingCallback

log = logging.getLogger(__name__)


class EarlyStopping(EarlyStoppingCallback):
    """Ends training after several validations without an improvement of ``metric_for_best_model``.

    A validation in which this figure is undefined counts as one without an improvement. The count is saved in
    checkpoints and restored by `JudgeTrainer.before_resuming`.

    Args:
        early_stopping_patience: number of validations without an improvement, 1 or more.
        early_stopping_threshold: the smallest improvement that counts, 0 or more.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self, early_stopping_patience: int = 3, early_stopping_threshold: float = 0.0
    ) -> None:
        if early_stopping_patience < 1:
            raise ValueError(f"{early_stopping_patience=} must be 1 or more.")
        if early_stopping_threshold < 0:
            raise ValueError(f"{early_stopping_threshold=} must be 0 or more.")
        super().__init__(early_stopping_patience, early_stopping_threshold)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Count the validation, and end training if the count reaches ``early_stopping_patience``."""
        name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        figures = {name: float("nan"), **(metrics or {})}
        super().on_evaluate(args, state, control, figures, **kwargs)
        if control.should_training_stop:
            best = "undefined" if state.best_metric is None else f"{state.best_metric:.4f}"
            log.info(
                "Early stopping at step %d: %s has not improved in %d validations; the best is %s.",
                state.global_step,
                name,
                self.early_stopping_patience_counter,
                best,
            )
