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

from dramaeval.models.batch import NO_SCORE, Batch

Objective = Callable[[torch.Tensor, Batch], torch.Tensor]


def answer_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the written answer's tokens, −Σ log p(token), the end of the turn included.

    Where the target is spread over several scores the likeliest is the one written.
    """
    losses = F.cross_entropy(logits.float(), batch.labels, reduction="none")
    return _by_question(losses, batch)


def soft_ce(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy with the raters' distribution at the score, −Σ_k q(k) log p(k), over the vocabulary.

    The other tokens of the answer keep their plain cross-entropy. After DeQA-Score (You et al. 2025,
    arXiv 2501.11561), equations 4-5.
    """
    losses = F.cross_entropy(logits.float(), batch.labels, reduction="none")
    log_p = logits[batch.score_at].float().log_softmax(dim=-1)
    at_scale = log_p.gather(1, batch.score_tokens.clamp(min=0))
    soft = -(targets_of(batch) * at_scale).sum(dim=-1)
    return _by_question(losses.index_copy(0, batch.score_at, soft), batch)


def expected_mse(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared error of the expected score, (Σ_k k p(k) − Σ_k k q(k))², with p over the scale alone.

    Regression-aware fine-tuning (Lukasik et al. 2024; TRACT, Chiang et al. 2025, arXiv 2503.04381). It says
    nothing of the answer's other tokens: add ``answer_ce`` or ``soft_ce`` where the judge is to write answers.
    """
    p = score_log_p(logits, batch).exp()
    return ((p * batch.scale).sum(-1) - (targets_of(batch) * batch.scale).sum(-1)).square()


def ordinal(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Squared earth mover's distance, Σ_k (s_{k+1} − s_k) (P(k) − Q(k))², with P, Q cumulative over the scale.

    Hou et al. 2016 (arXiv 1611.05916), equation 8, with the gaps of an uneven scale as weights. A score far
    from the raters' costs more than one beside it, which cross-entropy does not know.
    """
    gap = (score_log_p(logits, batch).exp() - targets_of(batch)).cumsum(-1)
    # Padding of a shorter scale has no next score; its cumulative difference is 0 all the same.
    step = batch.scale.diff(dim=-1).clamp(min=0)
    return (step * gap[:, :-1].square()).sum(-1)


def targets_of(batch: Batch) -> torch.Tensor:
    """The batch's targets; raises ValueError on a batch that was made for scoring."""
    if batch.targets is None:
        raise ValueError("This batch has no targets: it was made for scoring, not for training.")
    return batch.targets


def score_log_p(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probabilities over each question's scale alone, ``[questions, longest scale]``."""
    chosen = logits[batch.score_at].float().gather(1, batch.score_tokens.clamp(min=0))
    # A large negative number, not −∞: its gradient is 0, where that of exp(−∞) is undefined.
    return chosen.masked_fill(batch.score_tokens == NO_SCORE, -1e9).log_softmax(dim=-1)


def _by_question(losses: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Sum answer tokens by question: ``[answers]`` to ``[questions]``."""
    return losses.new_zeros(batch.questions).index_add(0, batch.question_of, losses)


class Composition:
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
    """The names and weights of an expression like ``soft_ce+0.5*expected_mse``; see `Composition`."""
    names = list(known)
    terms = []
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
        terms.append((name, value))
    return terms
