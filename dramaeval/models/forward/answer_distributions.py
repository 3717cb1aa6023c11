"""From logits at answer positions to what the judge thinks of each choice: read here and nowhere else."""

from __future__ import annotations

import torch

from dramaeval.models.inputs.collation import NO_SCORE, Batch

#: Stands for a choice that there is not. A large negative number, not −∞: its gradient is 0, where that of
#: exp(−∞) is undefined.
LOWEST = -1e9


def choice_log_p(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probability of writing each choice, over the whole vocabulary, Σ log p(token) over its tokens.

    Args:
        logits: ``[answers, vocabulary]``.
        batch: says where choices are made and which tokens stand for them.

    Returns:
        float32 ``[questions, most choices]``; places past a shorter scale hold `LOWEST`.
    """
    return _values(logits[batch.score_index].float().log_softmax(dim=-1), logits, batch)


def distributions(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The judge's distribution over the choices of each question: their likelihoods, brought to a sum of 1.

    Args:
        logits: ``[answers, vocabulary]``, of the batch's answer positions.
        batch: says which answers are scores and which tokens stand for them.

    Returns:
        float32 ``[questions, most choices]``; places past a shorter scale hold 0.
    """
    return scale_log_p(logits, batch).exp()


def scale_log_p(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probabilities over each question's choices alone, ``[questions, most choices]``."""
    # Where a score is a single token, what the vocabulary sums to cancels out.
    return _values(logits[batch.score_index].float(), logits, batch).log_softmax(dim=-1)


def _values(at_scores: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    if is_regression(logits):
        raise ValueError(
            "model.head=regression gives a number and no distribution: set trainer.objective to expected_mse "
            "or ranking."
        )
    values = at_scores.gather(1, batch.score_tokens.clamp(min=0))
    values = values.masked_fill(batch.score_tokens == NO_SCORE, LOWEST)
    if batch.terms is None:
        return values
    answer, token, question, choice = batch.terms.unbind(dim=-1)
    log_p = logits[answer].float().log_softmax(dim=-1).gather(1, token[:, None])[:, 0]
    place = question * values.shape[1] + choice
    sums = torch.zeros_like(values).view(-1).index_add(0, place, log_p).view_as(values)
    has_terms = torch.zeros_like(values, dtype=torch.bool).view(-1)
    has_terms[place] = True
    return torch.where(has_terms.view_as(values), sums, values)


def is_regression(logits: torch.Tensor) -> bool:
    """Whether these come from a regression head: one number an answer position instead of a vocabulary."""
    return logits.shape[-1] == 1


def expected_scores(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The expected score of each question, Σ_k k·p(k); of a regression head its value, float32 ``[questions]``.

    A head's number v stands for low + (high − low)·sigmoid(v), so that it stays on the scale.
    """
    if is_regression(logits):
        value = logits[batch.score_index, 0].float().sigmoid()
        low = batch.scale[:, 0]
        return low + (batch.scale.amax(dim=-1) - low) * value
    return (distributions(logits, batch) * batch.scale).sum(dim=-1)


def chosen(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The likeliest choice of each question, or the one nearest to a head's value; int64 ``[questions]``."""
    if not is_regression(logits):
        return distributions(logits, batch).argmax(dim=-1)
    away = (batch.scale - expected_scores(logits, batch)[:, None]).abs()
    return away.masked_fill(batch.score_tokens == NO_SCORE, torch.inf).argmin(dim=-1)
