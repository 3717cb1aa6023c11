"""Means, variances and covariance of two columns in every draw, from six sums."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dramaeval.evaluation.bootstrap import Draws

NEGLIGIBLE = 1e-12
"""A variance this small beside the whole sample's is rounding: the draw is constant."""


class Moments(NamedTuple):
    """Each (draws,), population moments; NaN in draws without records.

    A variance is 0 exactly where the draw is constant.
    """

    mean_x: np.ndarray
    mean_y: np.ndarray
    variance_x: np.ndarray
    variance_y: np.ndarray
    covariance: np.ndarray


def moments_over_draws(x: np.ndarray, y: np.ndarray, cluster: np.ndarray, draws: Draws) -> Moments:
    """Weighted moments of x and y (n,): mean Σwx/Σw, variance Σwx²/Σw − mean², and so on.

    Both columns are centred on the whole sample's mean first, so that little cancels.
    """
    centre_x, centre_y = (x.mean(), y.mean()) if len(x) else (0.0, 0.0)
    x, y = x - centre_x, y - centre_y
    columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = draws.sums(cluster, columns)
        _, mean_x, mean_y, xx, yy, xy = (sums / sums[:, :1]).T
        variance_x = _floored(xx - mean_x**2, x)
        variance_y = _floored(yy - mean_y**2, y)
    covariance = xy - mean_x * mean_y
    return Moments(mean_x + centre_x, mean_y + centre_y, variance_x, variance_y, covariance)


def _floored(variances: np.ndarray, centred: np.ndarray) -> np.ndarray:
    whole = float((centred * centred).mean()) if len(centred) else 0.0
    return np.where(variances <= NEGLIGIBLE * whole, 0.0, variances)


def correlation(moments: Moments) -> np.ndarray:
    """cov / √(var·var) in every draw, NaN where one side is constant."""
    product = moments.variance_x * moments.variance_y
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(product > 0, moments.covariance / np.sqrt(product), np.nan)


def mean_over_draws(values: np.ndarray, cluster: np.ndarray, draws: Draws) -> np.ndarray:
    """Σwv/Σw in every draw, (draws,), of `values` (n,); NaN in draws without records."""
    total, records = draws.sums(cluster, np.stack([values, np.ones_like(values)], axis=1)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / records
