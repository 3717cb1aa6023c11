"""Krippendorff's alpha: agreement between raters beyond chance."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.metrics.metric import UndefinedError


def ordinal_alpha(ratings: np.ndarray) -> float:
    """α = 1 − D_o/D_e with the ordinal distance (Krippendorff 2011, Computing α-Reliability).

    `ratings` (n, R) are NaN where missing; records with fewer than two ratings are left
    out. Raises UndefinedError if no record has two ratings, or all ratings are equal (D_e = 0).
    """
    paired = ratings[(~np.isnan(ratings)).sum(axis=1) >= 2]
    if len(paired) == 0:
        raise UndefinedError("no record was rated by two raters")
    values = np.unique(paired[~np.isnan(paired)])
    counts = np.stack([(paired == value).sum(axis=1) for value in values], axis=1).astype(float)
    observed = coincidences(counts)
    margins = observed.sum(axis=0)
    distance = ordinal_distance(margins)
    expected = np.outer(margins, margins) - np.diag(margins)
    chance = (expected * distance).sum() / (margins.sum() - 1)
    if chance == 0:
        raise UndefinedError("all raters gave every record the same rating")
    return float(1 - (observed * distance).sum() / chance)


def coincidences(counts: np.ndarray) -> np.ndarray:
    """o_ck = Σ_u (ordered pairs of c and k in record u) / (m_u − 1), from counts (n, V): (V, V)."""
    weights = 1 / (counts.sum(axis=1) - 1)
    pairs = (counts * weights[:, None]).T @ counts
    return pairs - np.diag(weights @ counts)  # a rating does not pair with itself


def ordinal_distance(margins: np.ndarray) -> np.ndarray:
    """δ²_ck = (n_c/2 + Σ of the n between c and k + n_k/2)², from the margins (V,): (V, V)."""
    middles = np.cumsum(margins) - margins / 2
    return np.subtract.outer(middles, middles) ** 2
