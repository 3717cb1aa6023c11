"""Checks whether a training changed the weights and the scores, and explains why it did not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from dramaeval.evaluation.predictions import Prediction
from dramaeval.training.checkpoints import find_own_best

log = logging.getLogger(__name__)

#: A training has a visible effect if it changes an expected score by at least this share of the scale.
VISIBLE = 1e-3
WeightSums = Mapping[str, tuple[float, float]]


class TrainingEffect(TrainerCallback):
    """Counts the steps of one call of ``train()``, and compares the weights before and after them.

    If a training has taken no step yet, the end of an epoch does not evaluate or save.
    """

    def __init__(self) -> None:
        self.first = 0
        self.start: WeightSums | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Remember the step at which training begins or resumes, and sums of the weights, unless ZeRO splits them.

        The best checkpoint of a training that has no further step to take is found here, see `find_own_best`.
        """
        find_own_best(state, Path(args.output_dir))
        self.first = state.global_step
        self.start = None if args.deepspeed else weight_sums(model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cancel the requests of ``eval_strategy=epoch`` and ``save_strategy=epoch`` if no step was taken."""
        if not self.steps(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def steps(self, state: Any) -> int:
        """The number of steps since training began or resumed."""
        return int(state.global_step - self.first)

    def report(self, model: Any, state: Any) -> None:
        """Log the largest learning rate and gradient norm; warn if the steps changed no weight."""
        if not self.steps(state):
            return
        # A training with fewer steps than logging_steps has logged no learning rate.
        if any("learning_rate" in entry for entry in state.log_history):
            log.info("%s.", summary(state.log_history))
        if self.start is None:
            return
        if text := no_effect(self.start, weight_sums(model), state.log_history):
            log.warning("%s", text)


def weight_sums(model: Any) -> WeightSums:
    """The sum and the sum of squares of every trained weight, in float64."""
    return {
        name: (
            float(weight.detach().sum(dtype=torch.float64)),
            float(weight.detach().to(torch.float64).square().sum()),
        )
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def no_effect(before: WeightSums, after: WeightSums, history: Sequence[Mapping[str, Any]]) -> str:
    """The message about a training that changed no weight or had no gradient; otherwise an empty text.

    Args:
        before: the `weight_sums` before the first step.
        after: the `weight_sums` after the last step.
        history: the logged steps, as in `transformers.TrainerState`.
    """
    rate, norm = _largest(history, "learning_rate"), _largest(history, "grad_norm")
    if before != after and norm != 0:
        return ""
    if norm == 0:
        cause = "the gradients are 0: the objective gives the same loss, or the rewards the same value, for every answer"
    elif rate == 0:
        cause = "the learning rate is 0: raise trainer.args.learning_rate, or lower trainer.args.warmup_steps"
    elif rate is None:
        cause = (
            "no step was logged, so that the cause is unknown (the first step of a warm-up has the learning rate 0): set "
            "trainer.args.logging_steps=1, or train for more steps"
        )
    else:
        cause = (
            "the steps are smaller than the precision of the weights: raise trainer.args.learning_rate, or set "
            "model.dtype=float32"
        )
    effect = "no weight" if before == after else "weights by weight decay only"
    return f"Training changed {effect}. {summary(history)}; {cause}."


def summary(history: Sequence[Mapping[str, Any]]) -> str:
    """The largest learning rate and gradient norm of the logged steps."""
    rate, norm = _largest(history, "learning_rate"), _largest(history, "grad_norm")
    return f"Largest learning rate {_number(rate)}, largest gradient norm {_number(norm)}"


def largest_change(before: Sequence[Prediction], after: Sequence[Prediction]) -> float | None:
    """The largest change of an expected score, as a share of its scale.

    Args:
        before: predictions of the base model.
        after: predictions of the trained judge for the same questions.

    Returns:
        a number from 0 to 1; None if no question has both scores.
    """
    scores = {(item.id, item.dimension): item.expected for item in before}
    changes = [
        abs(item.expected - start) / (item.scale[-1] - item.scale[0])
        for item in after
        if item.expected is not None
        and (start := scores.get((item.id, item.dimension))) is not None
    ]
    return max(changes, default=None)


def _largest(history: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return max((float(entry[name]) for entry in history if name in entry), default=None)


def _number(value: float | None) -> str:
    return "not logged" if value is None else f"{value:.3g}"
