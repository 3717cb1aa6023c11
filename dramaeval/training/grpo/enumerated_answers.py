"""Every answer of a scale with its exact probability, in place of a sample of completions.

For one question let p(k) be the policy's probability of the whole answer k and q(k) = p(k) / Σ_j p(j) its
share among the answers of the scale. The advantage of answer k is r(k) − Σ_j q(j) r(j), divided by the
standard deviation under q where ``scale_rewards=group``, and answer k stands in the loss with weight q(k). So
the gradient is Σ_k q(k) ∇log p(k) (r(k) − Σ_j q(j) r(j)): what GRPO's is in expectation, for completions that
are answers of the scale, but for two things. A sample's own mean as baseline makes GRPO's smaller by
(G − 1)/G; and completions that are no answers count for nothing here, so that a judge is not taught the form
of an answer. How likely those are is logged (``outside``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Weighed:
    """Answers of some questions, ``[answers]`` each.

    Attributes:
        weights: q of each answer times the number of answers of its question, so that their mean is 1.
        advantages: of each.
        means: Σ q r by question, ``[questions]``.
        spreads: the standard deviation under q, ``[questions]``.
        outside: probability of all that is no answer of the scale, ``[questions]``.
    """

    weights: torch.Tensor
    advantages: torch.Tensor
    means: torch.Tensor
    spreads: torch.Tensor
    outside: torch.Tensor


def weigh(
    log_p: torch.Tensor, rewards: torch.Tensor, question: torch.Tensor, *, scaled: bool
) -> Weighed:
    """Weights and advantages of all answers.

    Args:
        log_p: of each whole answer under the policy that counts as the old one, ``[answers]``.
        rewards: of each, ``[answers]``.
        question: the number of its question, from 0 and without gaps, ``[answers]``.
        scaled: divide by the spread.
    """
    count = int(question.max()) + 1
    p = log_p.detach().double().exp()
    whole = _sums(p, question, count)
    # Divided in logarithms, so that answers of tiny probability keep their shares.
    top = torch.full((count,), -torch.inf, dtype=torch.float64, device=log_p.device)
    top = top.scatter_reduce(0, question, log_p.detach().double(), "amax")
    shares = (log_p.detach().double() - top[question]).exp()
    q = shares / _sums(shares, question, count)[question]
    r = rewards.double()
    means = _sums(q * r, question, count)
    away = r - means[question]
    spreads = _sums(q * away**2, question, count).sqrt()
    advantages = away / (spreads[question] + 1e-4) if scaled else away
    answers = _sums(torch.ones_like(q), question, count)
    return Weighed(
        weights=(q * answers[question]).float(),
        advantages=advantages.float(),
        means=means.float(),
        spreads=spreads.float(),
        outside=(1 - whole).clamp(min=0).float(),
    )


def _sums(values: torch.Tensor, question: torch.Tensor, count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(
        0, question, values
    )
