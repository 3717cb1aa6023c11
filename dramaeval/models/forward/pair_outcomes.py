"""Probabilities of the results of a comparison, from the scores of the two clips.

Bradley and Terry (1952) give clips strengths π with P(a beats b) = π_a / (π_a + π_b). Here log π is ``slope`` times the
expected score, so that log-odds grow by ``slope`` for each score of difference. Davidson (1970, JASA 65:317) adds ties
with a weight ν:

    P(a) : P(tie) : P(b) = π_a : ν √(π_a π_b) : π_b

Two clips with the same score tie with the probability ν/(2 + ν); with ν = 0 there are no ties.
"""

from __future__ import annotations

import torch

#: The logarithm of a tie weight of 0. It is finite because the gradient of exp(−∞) is undefined.
_LOWEST = -1e9


def outcome_log_p(
    difference: torch.Tensor, slope: torch.Tensor, tie_weight: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities that clip b is better, that neither is, and that clip a is better.

    Args:
        difference: score of clip a minus that of clip b, ``[pairs]``.
        slope: ``[pairs]``.
        tie_weight: Davidson's ν, ``[pairs]``.

    Returns:
        ``[pairs, 3]``, in the dtype of ``difference``.
    """
    half = slope.to(difference) * difference / 2
    weight = tie_weight.to(difference)
    tie = weight.clamp(min=torch.finfo(weight.dtype).tiny).log()
    tie = torch.where(weight > 0, tie, torch.full_like(tie, _LOWEST))
    return torch.stack([-half, tie, half], dim=-1).log_softmax(dim=-1)


def outcome_probabilities(
    margin: float, slope: float, tie_weight: float
) -> tuple[float, float, float]:
    """The probabilities that clip b is better, that neither is, and that clip a is better.

    They are computed for the better clip, so that the reversed pair has exactly the same three, reversed.
    """
    values = torch.tensor([[abs(margin)], [slope], [tie_weight]], dtype=torch.float64)
    worse, tie, better = outcome_log_p(*values)[0].exp().tolist()
    return (worse, tie, better) if margin >= 0 else (better, tie, worse)
