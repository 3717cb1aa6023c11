"""Probabilities of the outcomes of a comparison, from the scores of the two clips.

Bradley and Terry (1952) give clips strengths π with P(a beats b) = π_a / (π_a + π_b). Here log π is ``slope`` times the
expected score, so that a difference of one score changes the log-odds by ``slope``. Davidson (1970, JASA 65:317) adds
ties with a weight ν:

    P(a) : P(tie) : P(b) = π_a : ν √(π_a π_b) : π_b

Two clips with the same score tie with the probability ν/(2 + ν); with ν = 0 there are no ties.
"""

from __future__ import annotations

import torch

#: The logarithm of a tie weight of 0. It is finite, because the gradient of exp(−∞) is undefined.
_LOWEST = -1e9


def outcome_log_p(
    difference: torch.Tensor, slope: torch.Tensor, tie_weight: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities of "clip b is better", "tie" and "clip a is better".

    Args:
        difference: score of clip a minus score of clip b, ``[pairs]``.
        slope: see above, ``[pairs]``.
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
    """The probabilities of "clip b is better", "tie" and "clip a is better".

    They are computed from |margin|, so that the reversed pair has exactly the same probabilities in reversed order.
    """
    values = torch.tensor([[abs(margin)], [slope], [tie_weight]], dtype=torch.float64)
    worse, tie, better = outcome_log_p(*values)[0].exp().tolist()
    return (worse, tie, better) if margin >= 0 else (better, tie, worse)
