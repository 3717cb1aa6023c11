"""Objectives: what a step of training lowers, as a value per question.

An objective is a function of the logits at the answer positions and of the batch that returns one loss a
question, float32 ``[questions]``. The trainer adds the named ones with their weights and averages over the
questions of the whole optimizer step, so that a question counts the same in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches

import torch
from torch.nn import functional as F

from dramaeval.models.forward.answer_distributions import (
    choice_log_p,
    expected_scores,
    is_regression,
    scale_log_p,
)
from dramaeval.models.inputs.collation import UNTRAINED, Batch

Objective = Callable[[torch.Tensor, Batch], torch.Tensor]


def answer_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the written answer's tokens, −Σ log p(token), the end of the turn included.

    Where the target is spread over several scores the likeliest is the one written. A thought before the
    answer counts as part of it.
    """
    return _by_question(_token_losses(logits, batch), batch)


def soft_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy with the raters' distribution at the score, −Σ_k q(k) log p(k), over the vocabulary.

    The other tokens of the answer keep their plain cross-entropy. After DeQA-Score (You et al. 2025,
    arXiv 2501.11561), equations 4-5. Where a choice has several tokens, p(k) is that of all of them.
    """
    losses = _token_losses(logits, batch)
    chosen = (
        batch.score_index
        if batch.terms is None
        else torch.cat([batch.score_index, batch.terms[:, 0]])
    )
    soft = -(targets_of(batch) * choice_log_p(logits, batch)).sum(dim=-1)
    return _by_question(losses.index_fill(0, chosen, 0.0), batch) + soft


def choice_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy with the target over the choices alone, −Σ_k q(k) log (p(k) / Σ_j p(j)).

    What scoring reads is exactly what is trained: the options of a multiple-choice question against each
    other. It says nothing of the answer's form: add ``answer_ce`` where the judge is to write answers.
    """
    return -(targets_of(batch) * scale_log_p(logits, batch)).sum(dim=-1)


def expected_mse(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared error of the expected score, (Σ_k k p(k) − Σ_k k q(k))², with p over the scale alone.

    With ``model.head=regression`` the head's value stands in place of Σ_k k p(k). Regression-aware
    fine-tuning (Lukasik et al. 2024; TRACT, Chiang et al. 2025, arXiv 2503.04381). It says nothing of the
    answer's other tokens: add ``answer_ce`` or ``soft_ce`` where the judge is to write answers.
    """
    return (expected_scores(logits, batch) - rated_scores(batch)).square()


def ordinal(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared earth mover's distance, Σ_k (s_{k+1} − s_k) (P(k) − Q(k))², with P, Q cumulative over the scale.

    Hou et al. 2016 (arXiv 1611.05916), equation 8, with the gaps of an uneven scale as weights. A score far
    from the raters' costs more than one beside it, which cross-entropy does not know.
    """
    gap = (scale_log_p(logits, batch).exp() - targets_of(batch)).cumsum(-1)
    # Padding of a shorter scale has no next score; its cumulative difference is 0 all the same.
    step = batch.scale.diff(dim=-1).clamp(min=0)
    return (step * gap[:, :-1].square()).sum(-1)


def ranking(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Pairs within a pass: the mean of log(1 + exp(−(e_i − e_j))) over the pairs that i is better or worse in.

    RankNet (Burges et al. 2005, ICML) on expected scores e, for every two clips of the batch that are asked
    for the same dimension and whose targets' means differ; both questions of a pair bear its loss, so that a
    step is lowered by ordering clips as the raters do. A question without such a partner has none. Pairs do
    not reach over accumulated passes or processes: the larger ``batch.per_device``, the more there are.
    """
    predicted, rated = expected_scores(logits, batch), rated_scores(batch)
    keys = [key for _, key in batch.question_keys]
    number = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    kind = torch.tensor([number[key] for key in keys], device=logits.device)
    difference = rated[:, None] - rated[None]
    pairs = (kind[:, None] == kind[None]) & (difference.abs() > 1e-6)
    losses = F.softplus(-difference.sign() * (predicted[:, None] - predicted[None]))
    return (losses * pairs).sum(dim=1) / pairs.sum(dim=1).clamp(min=1)


def targets_of(batch: Batch) -> torch.Tensor:
    """The batch's targets; raises ValueError on a batch that was made for scoring."""
    if batch.targets is None:
        raise ValueError("This batch has no targets: it was made for scoring, not for training.")
    return batch.targets


def rated_scores(batch: Batch) -> torch.Tensor:
    """The targets' means, Σ_k k q(k), float32 ``[questions]``."""
    return (targets_of(batch) * batch.scale).sum(dim=-1)


def _token_losses(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every written token, ``[answers]``; 0 where nothing is trained."""
    if is_regression(logits):
        raise ValueError(
            "model.head=regression gives a number and no tokens: set trainer.objective to expected_mse or "
            "ranking."
        )
    return F.cross_entropy(logits.float(), batch.labels, reduction="none", ignore_index=UNTRAINED)


def _by_question(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sum answer tokens by question: ``[answers]`` to ``[questions]``."""
    return losses.new_zeros(batch.questions).index_add(0, batch.question_of, losses)


class WeightedObjective:
    """Several objectives, added up with their weights.

    Args:
        expression: names joined by ``+``, each with a weight before a ``*`` if it is not 1, for example
            ``soft_ce+0.5*expected_mse``.
        known: what the names mean.

    Raises:
        ValueError: a name that is not known or a weight that is no number; says which are known.
    """

    def __init__(self, expression: str, known: Mapping[str, Objective]) -> None:
        self.terms: list[tuple[str, float, Objective]] = []
        for name, weight in parse(expression, known):
            self.terms.append((name, weight, known[name]))

    def __call__(self, logits: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Each term's weighted loss per question, float32 ``[questions]``; their sum is the loss."""
        return {name: weight * term(logits, batch) for name, weight, term in self.terms}


def parse(expression: str, known: Iterable[str]) -> list[tuple[str, float]]:
    """The names and weights of an expression like ``soft_ce+0.5*expected_mse``; see `WeightedObjective`."""
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
            near = get_close_matches(name, names, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"trainer.objective={expression}: {name!r} is not known; there are {', '.join(names)}.{hint}"
            )
        terms[name] = terms.get(name, 0.0) + value
    return list(terms.items())
