"""Objectives of supervised training: losses per question.

An objective is a function of the logits at the answer positions and of the batch. It returns one loss per question,
float32 ``[questions]``. The loss of the trainer is the weighted sum of the selected objectives, averaged over the
questions of the optimizer step, so that the weight of a question does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from dramaeval.config.problems import near_match_hint
from dramaeval.models.failures import TrainingFailureError
from dramaeval.models.forward.answer_distributions import (
    choice_log_p,
    expected_scores,
    is_regression,
    scale_log_p,
)
from dramaeval.models.forward.pair_outcomes import outcome_log_p
from dramaeval.models.inputs.batch import UNTRAINED, Batch

Objective = Callable[[torch.Tensor, Batch], torch.Tensor]

#: Objectives of pairs of clips, by their names in ``trainer.objectives``; the others need targets.
OF_PAIRS = frozenset({"bradley_terry"})

#: Range of the widest scale whose scores are not rescaled, see `_unit`.
WIDEST = 9.0


def answer_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the tokens of the answer, −Σ log p(token), with the end of the turn.

    If the target is a distribution over several scores, the answer has the likeliest score. A thought before the
    answer belongs to it.
    """
    return _by_question(_token_losses(logits, batch), batch)


def soft_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy with the raters' distribution at the score, −Σ_k q(k) log p(k), over the vocabulary.

    The other tokens of the answer have their usual cross-entropy. If a choice has several tokens, p(k) is the
    product of their probabilities. The loss follows DeQA-Score (You et al. 2025, arXiv 2501.11561), equations 4-5.
    """
    losses = _token_losses(logits, batch)
    chosen = batch.score_index
    if batch.terms is not None:
        chosen = torch.cat([chosen, batch.terms[:, 0]])
    soft = -(targets_of(batch) * choice_log_p(logits, batch)).sum(dim=-1)
    return _by_question(losses.index_fill(0, chosen, 0.0), batch) + soft


def choice_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy with the target over the choices only, −Σ_k q(k) log (p(k) / Σ_j p(j)).

    It trains only the probabilities that scoring compares. If the judge has to write answers, add ``answer_ce``,
    which trains their form.
    """
    return -(targets_of(batch) * scale_log_p(logits, batch)).sum(dim=-1)


def expected_mse(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared error of the expected score, (Σ_k k p(k) − Σ_k k q(k))², with p normalised over the scale.

    This is regression-aware fine-tuning (Lukasik et al. 2024; TRACT, Chiang et al. 2025, arXiv 2503.04381). With
    ``model.head=regression`` the value of the head replaces Σ_k k p(k). A scale wider than 0-9 is rescaled to 0-9, as in
    ``ordinal`` and ``ranking``. The other tokens of the answer are not trained: if the judge has to write answers, add
    ``answer_ce`` or ``soft_ce``.
    """
    error = expected_scores(logits, batch) - rated_scores(batch)
    return (error * _unit(batch)).square()


def ordinal(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared earth mover's distance, Σ_k (s_{k+1} − s_k) (P(k) − Q(k))², with P, Q cumulative over the scale.

    The loss grows with the distance from the raters' scores, unlike cross-entropy. Hou et al. 2016 (arXiv 1611.05916),
    equation 8, with the gaps of an uneven scale as weights.
    """
    gap = (scale_log_p(logits, batch).exp() - targets_of(batch)).cumsum(-1)
    # clamp() removes the negative step from the last score of a shorter scale to its padding.
    step = batch.scale.diff(dim=-1).clamp(min=0)
    return (step * gap[:, :-1].square()).sum(-1) * _unit(batch)


def ranking(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Pairwise ranking loss: the mean of log(1 + exp(−s_ij (e_i − e_j))) over the partners j of a question i.

    RankNet (Burges et al. 2005, ICML) on expected scores e; s_ij is 1 if the raters score i above j, and −1 if below.
    Partners are the questions of the same batch about the same dimension whose targets have another mean. A question
    without a partner has loss 0. Partners are never in another accumulated batch or process, so that a larger
    ``batch.per_device`` gives more pairs.
    """
    predicted, rated = expected_scores(logits, batch), rated_scores(batch)
    keys = [key for _, key in batch.question_keys]
    dimension = torch.tensor([keys.index(key) for key in keys], device=logits.device)
    difference = rated[:, None] - rated[None]
    pairs = (dimension[:, None] == dimension[None]) & (difference.abs() > 1e-6)
    pairs &= batch.rated[:, None] & batch.rated[None]
    losses = F.softplus(
        -difference.sign() * (predicted[:, None] - predicted[None]) * _unit(batch)[:, None]
    )
    return (losses * pairs).sum(dim=1) / pairs.sum(dim=1).clamp(min=1)


def bradley_terry(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of a pair's result with the raters' votes, −Σ_k q(k) log P(k) over clip b, tie and clip a.

    P is computed from the difference of the two clips' expected scores (or values of a regression head) by the
    models of Bradley and Terry (1952) and Davidson (1970), see `dramaeval.models.forward.pair_outcomes`. Graded votes
    are soft targets: a vote of ±1 on the scale to ±2 counts half for a clip and half for a tie. With a tie weight of 0,
    a tie counts half for each clip. Both questions of a pair have the loss of the pair, so that the mean over questions
    is the mean over pairs; a question that is not in a pair has loss 0.
    """
    expected = expected_scores(logits, batch)
    if batch.pairs is None or batch.pair_targets is None or batch.pair_model is None:
        return expected * 0  # zeros that have a gradient
    difference = expected[batch.pairs[:, 0]] - expected[batch.pairs[:, 1]]
    slope, tie_weight = batch.pair_model.unbind(dim=-1)
    share_b, tie, share_a = batch.pair_targets.to(difference).unbind(dim=-1)
    spread = torch.where(tie_weight > 0, 0.0, tie / 2)
    target = torch.stack([share_b + spread, tie - 2 * spread, share_a + spread], dim=-1)
    pair_losses = -(target * outcome_log_p(difference, slope, tie_weight)).sum(dim=-1)
    losses = pair_losses.repeat_interleave(2)
    return torch.zeros_like(expected).index_add(0, batch.pairs.flatten(), losses)


def preferences_met(logits: torch.Tensor, batch: Batch) -> dict[str, int]:
    """The number of pairs whose votes prefer one clip, and of those in which this clip has the higher score."""
    if batch.pairs is None or batch.pair_targets is None:
        return {}
    expected = expected_scores(logits, batch)
    difference = expected[batch.pairs[:, 0]] - expected[batch.pairs[:, 1]]
    preferred = batch.pair_targets[:, 2] - batch.pair_targets[:, 0]
    decided = preferred.abs() > 1e-6
    correct = decided & (preferred * difference > 0)
    return {"pair/count": int(decided.sum()), "pair/correct": int(correct.sum())}


def _unit(batch: Batch) -> torch.Tensor:
    """The factor for differences of scores, float32 ``[questions]``: 1, or less for a scale wider than 0-9.

    The factor rescales wide scales to 0-9. Otherwise the squared errors on a slider from 0 to 100 would be a hundred
    times as large as those on other dimensions and the other terms of the objective.
    """
    reach = batch.scale.amax(dim=-1) - batch.scale[:, 0]
    return (WIDEST / reach).clamp(max=1.0)


def targets_of(batch: Batch) -> torch.Tensor:
    """The targets of a batch; raises ValueError if it has none."""
    if batch.targets is None:
        raise ValueError("This batch has no targets: it is a batch for scoring, not for training.")
    return batch.targets


def rated_scores(batch: Batch) -> torch.Tensor:
    """The means of the targets, Σ_k k q(k), float32 ``[questions]``."""
    return (targets_of(batch) * batch.scale).sum(dim=-1)


def _token_losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every answer token, ``[answers]``; 0 for tokens that are not trained."""
    if is_regression(logits):
        raise ValueError(
            "model.head=regression gives a number and no tokens: set trainer.objective to expected_mse or "
            "ranking."
        )
    return F.cross_entropy(logits.float(), batch.labels, reduction="none", ignore_index=UNTRAINED)


def _by_question(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The sum over the answer tokens of each question: ``[answers]`` to ``[questions]``."""
    return losses.new_zeros(batch.questions).index_add(0, batch.question_of, losses)


class WeightedObjective:
    """The weighted sum of objectives.

    Args:
        expression: names joined by ``+``; a weight other than 1 precedes its name with ``*``, for example
            ``soft_ce+0.5*expected_mse``.
        known: the objectives by name.

    Raises:
        ValueError: a name is unknown, or a weight is not a number.
    """

    def __init__(self, expression: str, known: Mapping[str, Objective]) -> None:
        self.terms = [(name, weight, known[name]) for name, weight in parse(expression, known)]

    def __call__(self, logits: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """The weighted loss of each term per question, float32 ``[questions]``; their sum is the loss.

        A question about one clip of a pair has no target: it has only the losses of `OF_PAIRS`.
        """
        losses = {
            name: weight * _checked(name, term(logits, batch), batch)
            for name, weight, term in self.terms
        }
        if batch.pairs is None:
            return losses
        return {
            name: loss if name in OF_PAIRS else torch.where(batch.rated, loss, 0.0)
            for name, loss in losses.items()
        }


def _checked(name: str, loss: Any, batch: Batch) -> torch.Tensor:
    """The loss of a term; raises TrainingFailureError if it is not one number for each question."""
    if isinstance(loss, torch.Tensor) and loss.shape == (batch.questions,):
        return loss
    given = f"shape {list(loss.shape)}" if isinstance(loss, torch.Tensor) else f"{loss!r}"
    raise TrainingFailureError(
        f"trainer.objective: {name} returned {given}, but an objective returns one loss for each question, a tensor of "
        f"shape [questions], here [{batch.questions}]: do not take the mean over questions."
    )


def parse(expression: str, known: Iterable[str]) -> list[tuple[str, float]]:
    """The names and weights of an expression of `WeightedObjective`."""
    names = list(known)
    terms: dict[str, float] = {}
    for part in str(expression).replace(" ", "").split("+"):
        weight, star, name = part.rpartition("*")
        try:
            value = float(weight) if star else 1.0
        except ValueError:
            raise ValueError(
                f"trainer.objective={expression}: {weight!r} is not a weight. Write WEIGHT*NAME, joined by +."
            ) from None
        if name not in names:
            hint = near_match_hint(name, names)
            raise ValueError(
                f"trainer.objective={expression}: {name!r} is not known; there are {', '.join(names)}.{hint}"
            )
        terms[name] = terms.get(name, 0.0) + value
    return list(terms.items())
