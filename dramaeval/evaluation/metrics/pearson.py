"""Pearson's correlation of expected scores with mean ratings."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.answers import Answers
from dramaeval.evaluation.bootstrap import Draws
from dramaeval.evaluation.metrics.metric import Exchange, require_variation
from dramaeval.evaluation.metrics.moments import correlation, moments_over_draws


class Pearson:
    """r = cov(x, y) / (σₓ σ_y), between -1 and 1 (Pearson 1895)."""

    name = "pearson"
    exchange = Exchange.STANDARDISED

    def __call__(self, answers: Answers) -> float:
        """Undefined under 3 records or where one side is constant."""
        require_variation(answers)
        return float(scipy.stats.pearsonr(answers.predicted, answers.rated).statistic)

    def over_draws(self, answers: Answers, draws: Draws) -> np.ndarray:
        """The same in every draw, from weighted moments."""
        found = moments_over_draws(answers.predicted, answers.rated, answers.cluster, draws)
        return correlation(found)
