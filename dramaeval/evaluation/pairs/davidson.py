"""Bradley-Terry ratings with ties: maximum likelihood in Davidson's model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

MOST_STEPS = 100
CONVERGED = 1e-9
"""Largest change of a rating in the last Newton step, in logits."""
LEAST_COUNT = 1e-6
"""A smaller sum of fractions counts as no win or tie: otherwise the ratings would be tens of logits apart."""
CHUNK = 4_000_000
"""Numbers in the Hessians of one chunk of samples: 32 MB."""


class Fit(NamedTuple):
    """Ratings of the systems, ``(samples, systems)``, with mean 0, and log ν, ``(samples,)``, −∞ without ties."""

    ratings: np.ndarray
    log_nu: np.ndarray


class _Parts(NamedTuple):
    likelihood: np.ndarray
    gradient: np.ndarray
    information: np.ndarray


def fit(counts: np.ndarray, first: np.ndarray, second: np.ndarray, systems: int) -> Fit:
    """Maximise the likelihood of several samples of comparisons.

    P(i beats j) = πᵢ / (πᵢ + πⱼ + ν√(πᵢπⱼ)) and P(tie) = ν√(πᵢπⱼ) / (…), with ratings θ = log π (Davidson 1970, JASA
    65, eq. 2.3); without ties ν = 0 and the model is that of Bradley & Terry (1952). The logarithm of the likelihood is
    concave in (θ, log ν), so that Newton's method with step halving finds its maximum. The maximum exists if wins or
    ties link every system to every other one in both directions (Ford 1957).

    Args:
        counts: numbers of wins of the first system, ties, and wins of the second system, ``(samples, 3, pairs)``;
            fractions are allowed.
        first: index of the first system of each pair, ``(pairs,)``.
        second: index of the second system of each pair, ``(pairs,)``.
        systems: number of systems.

    Returns:
        the ratings; NaN in a sample whose maximum does not exist or is not reached in `MOST_STEPS` steps.
    """
    ratings = np.full((len(counts), systems), np.nan)
    log_nu = np.full(len(counts), np.nan)
    linked = np.array([is_linked(sample, first, second, systems) for sample in counts], dtype=bool)
    # If all comparisons are ties, the likelihood grows with ν without limit.
    rows = np.flatnonzero(linked & (counts[:, [0, 2]].sum(axis=(1, 2)) > 0))
    # +1 for the first and −1 for the second system of a pair, (pairs, systems).
    design = np.eye(systems)[first] - np.eye(systems)[second]
    step = max(1, CHUNK // (systems + 1) ** 2)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        values = _newton(counts[chunk], design)
        ratings[chunk] = values[:, :-1] - values[:, :-1].mean(axis=1, keepdims=True)
        tied = counts[chunk, 1].sum(axis=1) > 0
        log_nu[chunk] = np.where(tied, values[:, -1], -np.inf)
    return Fit(ratings, log_nu)


def is_linked(sample: np.ndarray, first: np.ndarray, second: np.ndarray, systems: int) -> bool:
    """Whether the wins and ties of a sample, ``(3, pairs)``, link all systems in both directions."""
    return len(components(sample, first, second, systems, "strong")) == 1


def components(
    sample: np.ndarray, first: np.ndarray, second: np.ndarray, systems: int, connection: str
) -> list[list[int]]:
    """The connected groups of systems, the largest first.

    Args:
        sample: one sample of the ``counts`` of `fit`, ``(3, pairs)``.
        first: see `fit`.
        second: see `fit`.
        systems: see `fit`.
        connection: "strong" for a link in both directions, "weak" for any comparison.
    """
    win, tie, loss = sample >= LEAST_COUNT
    forward, back = win | tie, loss | tie
    start = np.concatenate([first[forward], second[back]])
    end = np.concatenate([second[forward], first[back]])
    graph = scipy.sparse.coo_array((np.ones(len(start)), (start, end)), shape=(systems, systems))
    _, label = scipy.sparse.csgraph.connected_components(graph.tocsr(), True, connection)
    groups = [np.flatnonzero(label == number).tolist() for number in np.unique(label)]
    return sorted(groups, key=len, reverse=True)


def _newton(counts: np.ndarray, design: np.ndarray) -> np.ndarray:
    """The maximum of each sample, ``(samples, systems + 1)``: θ, then log ν."""
    tied = counts[:, 1].sum(axis=1) > 0
    values = np.zeros((len(counts), design.shape[1] + 1))
    parts = _parts(values, counts, design, tied)
    for _ in range(MOST_STEPS):
        step = np.linalg.solve(parts.information, parts.gradient[..., None])[..., 0]
        values, parts = _halved(values, step, parts, counts, design, tied)
        moving = np.abs(step).max(axis=1) >= CONVERGED
        if not moving.any():
            return values
    values[moving] = np.nan
    return values


def _halved(
    values: np.ndarray,
    step: np.ndarray,
    before: _Parts,
    counts: np.ndarray,
    design: np.ndarray,
    tied: np.ndarray,
) -> tuple[np.ndarray, _Parts]:
    """Take the step of each sample, halved until the likelihood of the sample does not fall."""
    share = np.ones((len(values), 1))
    # The tolerance allows for the rounding of the sum near its maximum.
    least = before.likelihood - 1e-12 * (1 + np.abs(before.likelihood))
    while True:
        after = _parts(values + share * step, counts, design, tied)
        fell = ~(after.likelihood >= least)
        if not fell.any() or share.min() < 1e-9:
            return values + share * step, after
        share[fell] /= 2


def _parts(values: np.ndarray, counts: np.ndarray, design: np.ndarray, tied: np.ndarray) -> _Parts:
    """The log likelihood, its gradient and its negative Hessian at (θ, log ν) of each sample.

    With x = θᵢ − θⱼ the three outcomes have the logits x/2, log ν, −x/2. The likelihood does not depend on the mean of
    θ or, in a sample without ties, on log ν; a term in the Hessian keeps these two at 0.
    """
    x = values[:, :-1] @ design.T
    log_nu = np.where(tied, values[:, -1], -np.inf)[:, None]
    logits = np.stack([x / 2, np.broadcast_to(log_nu, x.shape), -x / 2], axis=1)
    log_p = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
    p, total = np.exp(log_p), counts.sum(axis=1)
    likelihood = (counts * np.where(counts > 0, log_p, 0)).sum(axis=(1, 2))
    lead = (p[:, 0] - p[:, 2]) / 2
    gradient = np.empty_like(values)
    gradient[:, :-1] = ((counts[:, 0] - counts[:, 2]) / 2 - total * lead) @ design
    gradient[:, -1] = np.where(tied, (counts[:, 1] - total * p[:, 1]).sum(axis=1), 0)
    size = values.shape[1]
    information = np.empty((len(values), size, size))
    curve = total * ((p[:, 0] + p[:, 2]) / 4 - lead**2)
    information[:, :-1, :-1] = np.einsum("sp,pi,pj->sij", curve, design, design, optimize=True) + 1
    cross = -(total * lead * p[:, 1]) @ design
    information[:, :-1, -1] = information[:, -1, :-1] = cross
    nu_information = (total * p[:, 1] * (1 - p[:, 1])).sum(axis=1)
    information[:, -1, -1] = np.where(tied, nu_information, 1)
    return _Parts(likelihood, gradient, information)
