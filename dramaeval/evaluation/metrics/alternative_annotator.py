"""The alternative annotator test: whether the judge can replace a rater."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from dramaeval.evaluation.metrics.metric import UndefinedError

LEAST_RECORDS = 30
"""Minimum number of records that a rater shares with others to be tested, for the t-test to hold."""

EPSILON = 0.15
"""Advantage of the judge because it is cheaper than a rater; the paper recommends 0.2 against experts, 0.15
against trained raters, 0.1 against crowd workers."""

FALSE_DISCOVERY_RATE = 0.05


def alternative_annotator_test(
    predicted: np.ndarray, ratings: np.ndarray, *, epsilon: float = EPSILON
) -> dict[str, Any]:
    """Run the test of Calderon, Reichart & Dror 2025 (arXiv 2501.10970), section 3.

    `predicted` (n,) are the judge's scores, and `ratings` (n, R) those of the raters, NaN where missing. Each
    rater in turn is left out. On each record, the judge's root mean squared distance to the remaining raters is
    compared with that of the rater left out: W_judge is 1 if the judge is at least as close, W_rater is 1 if the
    rater is (both on a tie). A one-sided t-test tests H₀: mean(W_rater − W_judge) ≥ ε; the p-values are adjusted by
    Benjamini & Yekutieli at 5 %. ω is the share of rejected hypotheses, ρ the mean of W_judge. Records count as
    independent.

    The judge's score may lie between two scores of the scale, and a rater's may not, which is an advantage of the
    judge; pass rounded scores to remove it.

    Returns:
        ``winning_rate`` ω, the share of the tested raters whom the judge can replace; ``advantage_probability`` ρ, the
        share of records on which the judge is at least as close to the other raters as the rater left out, averaged
        over raters; ``passed``, whether ω is at least 0.5; ``epsilon``; ``p_values``, adjusted, by rater, None for a
        rater who is not tested; ``raters_tested`` and ``raters_skipped``.

    Raises:
        UndefinedError: no rater shares at least 30 records with another.
    """
    outcomes = [_outcomes(predicted, ratings, rater) for rater in range(ratings.shape[1])]
    tested = [rater for rater, (wins, _) in enumerate(outcomes) if len(wins) >= LEAST_RECORDS]
    if not tested:
        raise UndefinedError(f"no rater shares {LEAST_RECORDS} records with another rater")
    raw = [_p_value(outcomes[rater][1] - outcomes[rater][0], epsilon) for rater in tested]
    adjusted = dict(zip(tested, scipy.stats.false_discovery_control(raw, method="by"), strict=True))
    beaten = sum(bool(p <= FALSE_DISCOVERY_RATE) for p in adjusted.values())
    return {
        "winning_rate": beaten / len(tested),
        "advantage_probability": float(np.mean([outcomes[rater][0].mean() for rater in tested])),
        "passed": beaten / len(tested) >= 0.5,
        "epsilon": epsilon,
        "p_values": [
            float(adjusted[rater]) if rater in adjusted else None
            for rater in range(ratings.shape[1])
        ],
        "raters_tested": len(tested),
        "raters_skipped": ratings.shape[1] - len(tested),
    }


def _outcomes(
    predicted: np.ndarray, ratings: np.ndarray, rater: int
) -> tuple[np.ndarray, np.ndarray]:
    """W_judge and W_rater on the m records that `rater` shares with another rater, each (m,)."""
    others = np.delete(ratings, rater, axis=1)
    rows = ~np.isnan(ratings[:, rater]) & ~np.isnan(others).all(axis=1) & ~np.isnan(predicted)
    # Both sums are over the same raters: the smaller sum has the smaller root mean square.
    judge = np.nansum((others[rows] - predicted[rows, None]) ** 2, axis=1)
    person = np.nansum((others[rows] - ratings[rows, rater, None]) ** 2, axis=1)
    return (judge <= person).astype(float), (person <= judge).astype(float)


def _p_value(differences: np.ndarray, epsilon: float) -> float:
    """p of a one-sided t-test of H₀: mean ≥ ε; 0 or 1 if all differences are equal."""
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] < epsilon else 1.0
    return float(scipy.stats.ttest_1samp(differences, epsilon, alternative="less").pvalue)
