"""Probabilities of choices and expected scores from the logits at the answer positions.

The functions take the ``logits [answers, vocabulary]`` of a batch and the `Batch`; objectives may use them.
"""

from __future__ import annotations

import torch

from dramaeval.models.inputs.batch import NO_SCORE, Batch

#: The logit of a choice that does not exist. It is finite, because the gradient of exp(−∞) is undefined.
LOWEST = -1e9


def choice_log_p(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probability of each choice over the whole vocabulary, Σ log p(token) over its tokens.

    Returns:
        float32 ``[questions, longest scale]``; `LOWEST` after the end of a shorter scale.
    """
    return _choice_values(logits[batch.score_index].float().log_softmax(dim=-1), logits, batch)


def scale_log_p(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probability of each choice among the choices of its question, float32 ``[questions, longest scale]``."""
    # If every score is one token, the normalisation over the vocabulary cancels out.
    values = _choice_values(logits[batch.score_index].float(), logits, batch)
    return values.log_softmax(dim=-1)


def distributions(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The judge's distribution over the choices of each question.

    Returns:
        float32 ``[questions, longest scale]``; each row sums to 1, and is 0 after the end of a shorter scale.
    """
    return scale_log_p(logits, batch).exp()


def expected_scores(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The expected score of each question, Σ_k k·p(k), float32 ``[questions]``.

    For the output v of a regression head it is low + (high − low)·sigmoid(v), which is on the scale.
    """
    if is_regression(logits):
        value = logits[batch.score_index, 0].float().sigmoid()
        low = batch.scale[:, 0]
        return low + (batch.scale.amax(dim=-1) - low) * value
    return (distributions(logits, batch) * batch.scale).sum(dim=-1)


def chosen(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The most probable choice of each question, or the nearest to the value of a regression head; int64 ``[questions]``."""
    if not is_regression(logits):
        return scale_log_p(logits, batch).argmax(dim=-1)
    distance = (batch.scale - expected_scores(logits, batch)[:, None]).abs()
    return distance.argmin(dim=-1)  # a shorter scale is padded with its last score


def is_regression(logits: torch.Tensor) -> bool:
    """Whether the logits come from a regression head: one number at each answer position."""
    return logits.shape[-1] == 1


def _choice_values(at_scores: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Values of the choices: the value of a single token, or the summed log-probabilities of several tokens.

    ``at_scores`` are logits or log-probabilities at the positions of the scores, ``[questions, vocabulary]``.
    """
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
    # Many choices share a position, whose normalisation over the vocabulary is computed once.
    positions, inverse = answer.unique(return_inverse=True)
    normalisation = logits[positions].float().logsumexp(dim=-1)
    log_p = logits[answer, token].float() - normalisation[inverse]
    index = question * values.shape[1] + choice
    sums = torch.zeros_like(values).view(-1).index_add(0, index, log_p)
    has_terms = torch.zeros_like(values, dtype=torch.bool).view(-1)
    has_terms[index] = True
    return torch.where(has_terms, sums, values.view(-1)).view_as(values)
