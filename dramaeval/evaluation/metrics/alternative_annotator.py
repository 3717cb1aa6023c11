"""The alternative annotator test: whether the judge can replace a rater."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from dramaeval.evaluation.metrics.metric import UndefinedError

LEAST_RECORDS = 30
"""Minimum number of records that a tested rater shares with others; the t-test needs as many."""

EPSILON = 0.15
"""Advantage granted to the judge because it is cheaper; the paper recommends 0.2 against experts, 0.15
against trained raters, 0.1 against crowd workers."""

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True, kw_only=True)
class AlternativeAnnotatorTest:
    """`winning_rate` ω: share of raters that the judge is as good as; the test passes from 0.5 on.

    `advantage_probability` ρ: how often the judge is at least as close to the others as the rater
    left out, averaged over raters. `p_values` are adjusted, one per rater, None where not tested.
    """

    winning_rate: float
    advantage_probability: float
    p_values: tuple[float | None, ...]
    raters_tested: int
    raters_skipped: int
    epsilon: float

    @property
    def passed(self) -> bool:
        """Whether the judge is as good as at least half of the raters."""
        return self.winning_rate >= 0.5


def alternative_annotator_test(
    predicted: np.ndarray, ratings: np.ndarray, *, epsilon: float = EPSILON
) -> AlternativeAnnotatorTest:
    """Calderon, Reichart & Dror 2025 (arXiv 2501.10970), section 3.

    `predicted` (n,) are the judge's scores, `ratings` (n, R) the raters', NaN where missing. Each
    rater j in turn is left out; on each record the root mean squared distances of judge and rater to
    the remaining raters are compared. With W_judge and W_rater the indicators of being at
    least as close (both 1 on a tie), H₀: mean(W_rater − W_judge) ≥ ε is tested by a one-sided
    t-test; the p-values are adjusted by Benjamini & Yekutieli at 5 %; ω is the share rejected and
    ρ the mean of W_judge. Records count as independent.

    Unlike a rater's, the judge's score may lie between two scores of the scale, which is an advantage;
    pass rounded scores to remove it.

    Raises UndefinedError when no rater shares at least 30 records with another.
    """
    outcomes = [_outcomes(predicted, ratings, rater) for rater in range(ratings.shape[1])]
    tested = [rater for rater, (wins, _) in enumerate(outcomes) if len(wins) >= LEAST_RECORDS]
    if not tested:
        raise UndefinedError(f"no rater shares {LEAST_RECORDS} records with another rater")
    raw = [_p_value(outcomes[rater][1] - outcomes[rater][0], epsilon) for rater in tested]
    adjusted = dict(zip(tested, scipy.stats.false_discovery_control(raw, method="by"), strict=True))
    beaten = sum(bool(p <= FALSE_DISCOVERY_RATE) for p in adjusted.values())
    return AlternativeAnnotatorTest(
        winning_rate=beaten / len(tested),
        advantage_probability=float(np.mean([outcomes[rater][0].mean() for rater in tested])),
        p_values=tuple(
            float(adjusted[rater]) if rater in adjusted else None
            for rater in range(ratings.shape[1])
        ),
        raters_tested=len(tested),
        raters_skipped=ratings.shape[1] - len(tested),
        epsilon=epsilon,
    )


def _outcomes(
    predicted: np.ndarray, ratings: np.ndarray, rater: int
) -> tuple[np.ndarray, np.ndarray]:
    """W_judge and W_rater of the records that `rater` shares with another rater, each (m,)."""
    others = np.delete(ratings, rater, axis=1)
    rows = ~np.isnan(ratings[:, rater]) & ~np.isnan(others).all(axis=1) & ~np.isnan(predicted)
    # Both sums are over the same raters, so the smaller sum is the smaller root mean square.
    judge = np.nansum((others[rows] - predicted[rows, None]) ** 2, axis=1)
    person = np.nansum((others[rows] - ratings[rows, rater, None]) ** 2, axis=1)
    return (judge <= person).astype(float), (person <= judge).astype(float)


def _p_value(differences: np.ndarray, epsilon: float) -> float:
    """One-sided t-test of H₀: mean ≥ ε; without variance p is 0 or 1."""
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] < epsilon else 1.0
    return float(scipy.stats.ttest_1samp(differences, epsilon, alternative="less").pvalue)
