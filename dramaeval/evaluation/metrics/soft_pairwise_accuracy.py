"""Soft pairwise accuracy: whether judge and raters are equally certain which of two systems is better."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

PERMUTATIONS = 1_000

LEAST_SHARED = 10
"""Minimum number of shared groups for a paired test; fewer groups have too few sign patterns."""


class Superiority(NamedTuple):
    """p-values of "the row's system is better than the column's", (S, S): upper triangle, else NaN.

    `paired` (S, S) is True if the two systems are compared on shared groups.
    """

    p: np.ndarray
    paired: np.ndarray


def soft_pairwise_accuracy(rated: np.ndarray, predicted: np.ndarray) -> float:
    """SPA = mean over pairs of systems of 1 − |p_rated − p_predicted| (Thompson et al. 2024).

    arXiv 2409.09598, eq. 3. `rated` and `predicted` are (S, S) matrices of p-values; pairs that are NaN in one
    of them are left out. NaN if no pair remains.
    """
    distance = np.abs(rated - predicted)
    defined = ~np.isnan(distance)
    return float(1 - distance[defined].mean()) if defined.any() else float("nan")


def superiority(cells: np.ndarray, signs: np.ndarray) -> Superiority:
    """Compute one-sided p-values for every pair of systems.

    `cells` (S, G) is each system's mean score in each group (a scene or prompt), NaN without
    a score; `signs` (permutations, G) of ±1 should be the same for judge and raters. Two systems that
    share `LEAST_SHARED` groups are compared by a paired permutation test on these groups, other systems by
    Welch's t-test over all their groups. A pair with a system of fewer than two groups stays NaN.
    """
    systems = len(cells)
    p = np.full((systems, systems), np.nan)
    paired = np.zeros((systems, systems), dtype=bool)
    present = ~np.isnan(cells)
    for a in range(systems):
        for b in range(a + 1, systems):
            shared = present[a] & present[b]
            if shared.sum() >= LEAST_SHARED:
                paired[a, b] = True
                p[a, b] = paired_p_value((cells[a] - cells[b])[shared], signs[:, shared])
            elif min(present[a].sum(), present[b].sum()) >= 2:
                p[a, b] = welch_p_value(cells[a, present[a]], cells[b, present[b]])
    return Superiority(p, paired)


def random_signs(groups: int, seed: int) -> np.ndarray:
    """Draw ±1 for each permutation and group, (permutations, groups); −1 exchanges the scores of two systems."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2, size=(PERMUTATIONS, groups), dtype=np.int8) * 2.0 - 1.0


def paired_p_value(differences: np.ndarray, signs: np.ndarray) -> float:
    """P(Σ ±d > Σ d) + ½ P(Σ ±d = Σ d) over random signs, for differences d (g,).

    The paper counts a tie as 1, not as ½. With ½, the p-value of a against b is 1 minus the p-value of b against a,
    so that the result does not depend on the order of the systems.
    """
    observed = differences.sum()
    swapped = signs @ differences
    tie = np.abs(swapped - observed) <= 1e-9 * max(1.0, np.abs(differences).sum())
    return float(((swapped > observed) & ~tie).mean() + tie.mean() / 2)


def welch_p_value(a: np.ndarray, b: np.ndarray) -> float:
    """p of a one-sided Welch t-test of "a has a higher mean than b"; 0, ½ or 1 if both are constant."""
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return float(0.5 - 0.5 * np.sign(a[0] - b[0]))
    return float(scipy.stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)
