"""Checks whether a training changed the weights and the scores, and explains why it did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dramaeval.evaluation.predictions import Prediction

#: A training has a visible effect if it changes an expected score by at least this share of the scale.
VISIBLE = 1e-3
WeightSums = Mapping[str, tuple[float, float]]


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
