"""Means, variances and covariance of two columns in every draw, from sums over its records."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dramaeval.evaluation.bootstrap import Summands, ratio

NEGLIGIBLE = 1e-12
"""If a draw's variance divided by the sample's is smaller, it is rounding error: the draw is constant."""


class Moments(NamedTuple):
    """Population moments of each draw, (draws,); NaN in draws without records.

    The variance of a constant draw is exactly 0.
    """

    mean_x: np.ndarray
    mean_y: np.ndarray
    variance_x: np.ndarray
    variance_y: np.ndarray
    covariance: np.ndarray


def of_moments(
    x: np.ndarray, y: np.ndarray, cluster: np.ndarray, value: Callable[[Moments], np.ndarray]
) -> Summands:
    """A statistic of the weighted moments of x and y (n,): mean Σwx/Σw, variance Σwx²/Σw − mean², and so on.

    Both columns are first centred on the mean of the sample, which keeps the rounding error small.
    """
    centre_x, centre_y = (x.mean(), y.mean()) if len(x) else (0.0, 0.0)
    x, y = x - centre_x, y - centre_y

    def moments(sums: np.ndarray) -> np.ndarray:
        _, mean_x, mean_y, xx, yy, xy = ratio(sums, sums[:, :1]).T
        variance_x = _floored(xx - mean_x**2, x)
        variance_y = _floored(yy - mean_y**2, y)
        covariance = xy - mean_x * mean_y
        return value(
            Moments(mean_x + centre_x, mean_y + centre_y, variance_x, variance_y, covariance)
        )

    columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    return Summands(cluster=cluster, columns=columns, value=moments)


def _floored(variances: np.ndarray, centred: np.ndarray) -> np.ndarray:
    sample = float((centred * centred).mean()) if len(centred) else 0.0
    return np.where(variances <= NEGLIGIBLE * sample, 0.0, variances)


def correlation(moments: Moments) -> np.ndarray:
    """cov / √(var·var) in every draw; NaN if x or y is constant."""
    return ratio(moments.covariance, np.sqrt(moments.variance_x * moments.variance_y))


def of_mean(
    values: np.ndarray, cluster: np.ndarray, value: Callable[[np.ndarray], np.ndarray]
) -> Summands:
    """A statistic of Σwv/Σw, the weighted mean of `values` (n,) without NaN; NaN in draws without values."""
    defined = ~np.isnan(values)
    values, cluster = values[defined], cluster[defined]

    def mean(sums: np.ndarray) -> np.ndarray:
        return value(ratio(*sums.T))

    columns = np.stack([values, np.ones_like(values)], axis=1)
    return Summands(cluster=cluster, columns=columns, value=mean)
