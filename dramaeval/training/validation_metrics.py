"""The figures of a validation during training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from dramaeval.data.mean_ratings import mean_distribution
from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.calibration import rater_shares
from dramaeval.evaluation.metrics.metric import mean_of_defined, metric_values
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.score_errors import MeanSquaredError
from dramaeval.evaluation.multiple_choice import summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.record_reply import AnyPrediction
from dramaeval.evaluation.units import divisors, span


def validation_metrics(predictions: Sequence[AnyPrediction]) -> dict[str, float]:
    """Figures of predictions with ratings, of multiple-choice questions, and of pairs.

    ``accuracy`` and ``cross_entropy`` are measured on predictions with ratings. Without such predictions they are
    measured on multiple-choice questions, where cross-entropy is the mean −log p of the right option.
    ``choice_accuracy`` is always measured on multiple-choice questions.
    """
    options = [item for item in predictions if isinstance(item, OptionPrediction)]
    figures = _of_ratings([item for item in predictions if isinstance(item, Prediction)])
    figures |= _of_pairs([item for item in predictions if isinstance(item, PairPrediction)])
    if not options:
        return figures
    likely = summarise_options(options, seed=0, draws=0)["overall"]["likelihood"]
    if likely["accuracy"] is None:
        return figures
    return {
        "accuracy": likely["accuracy"],
        "cross_entropy": -likely["mean_log_p"],
        "questions": likely["n"],
        **figures,
        "choice_accuracy": likely["accuracy"],
    }


def _of_ratings(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Cross-entropy, macro correlation and per-score accuracy of predictions with ratings.

    ``cross_entropy`` is the cross-entropy of the raters' histogram (or the distribution of `dramaeval.data.mean_ratings`
    if only the mean is known) and the judge's distribution over the scale, in nats. It does not depend on the objective,
    so that runs with different objectives can be compared. ``mse`` is in ranges of the scales if the ranges differ
    (`dramaeval.evaluation.units`). The macro correlation is the mean over the dimensions that have a correlation; it is
    absent if there are none.
    """
    by_dimension: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_dimension[prediction.dimension].append(prediction)
    clusters = cluster_names(predictions)
    dimensions = [dimension_arrays(key, group, clusters) for key, group in by_dimension.items()]
    dimensions = [arrays for arrays in dimensions if arrays.n]
    if not dimensions:
        return {}
    spans = {arrays.dimension: span(arrays.scale) for arrays in dimensions}
    by = divisors(MeanSquaredError(), spans)
    squares = np.concatenate(
        [(arrays.predicted - arrays.rated) ** 2 / by[arrays.dimension] for arrays in dimensions]
    )
    losses = np.concatenate(
        [_cross_entropies(arrays, by_dimension[arrays.dimension]) for arrays in dimensions]
    )
    correlations = {
        arrays.dimension: metric_values({"pearson": Pearson()}, arrays)[0].get("pearson")
        for arrays in dimensions
    }
    figures = {
        # A regression head gives no distribution.
        "cross_entropy": float(losses.mean()) if np.isfinite(losses).all() else None,
        "mse": float(squares.mean()),
        "questions": float(len(squares)),
        "pearson": mean_of_defined(correlations.values()),
        **{f"pearson/{key}": value for key, value in correlations.items()},
    }
    defined = {name: value for name, value in figures.items() if value is not None}
    return defined | _accuracy(dimensions)


def _of_pairs(predictions: Sequence[PairPrediction]) -> dict[str, float]:
    """Figures of pairs with votes; empty without such pairs.

    ``pair_accuracy`` is the share of pairs in which the judge prefers the same clip as the mean vote, among the pairs
    whose mean vote is not 0; equal probabilities count half. ``pair_cross_entropy`` is the mean −Σ q log p over the three
    outcomes.
    """
    voted = [prediction for prediction in predictions if prediction.mean_vote is not None]
    if not voted:
        return {}
    losses, hits = [], []
    for prediction in voted:
        votes = [vote for vote in prediction.votes if vote is not None]
        share_a = sum(max(vote, 0.0) for vote in votes) / len(votes)
        share_b = sum(max(-vote, 0.0) for vote in votes) / len(votes)
        shares = np.array([share_a, 1 - share_a - share_b, share_b])
        losses.append(-float(shares @ np.log(np.maximum(prediction.outcomes, 1e-12))))
        difference = (prediction.p_a - prediction.p_b) * (prediction.mean_vote or 0.0)
        if prediction.mean_vote:
            hits.append(0.5 if difference == 0 else float(difference > 0))
    figures = {"pair_cross_entropy": float(np.mean(losses))}
    return figures | ({"pair_accuracy": float(np.mean(hits))} if hits else {})


def _cross_entropies(arrays: DimensionArrays, predictions: Sequence[Prediction]) -> np.ndarray:
    """−log p of the score nearest to a rating, averaged over the raters of each scored and rated record: ``[records]``."""
    # Without a minimum, a probability that underflows to 0 would make the loss infinite.
    log_p = np.log(np.maximum(arrays.distribution, 1e-12))
    shares = rater_shares(arrays.ratings, arrays.scale)
    usable = [p for p in predictions if p.scored and p.mean_rating is not None]
    for row, prediction in enumerate(usable):
        if prediction.raters.mean_only and prediction.mean_rating is not None:
            std = prediction.raters.std
            shares[row] = mean_distribution(prediction.scale, prediction.mean_rating, std)
    return -(shares * log_p).sum(axis=1)


def _accuracy(dimensions: Sequence[DimensionArrays]) -> dict[str, float]:
    """The share of questions whose likeliest score is the nearest to the mean rating, overall and per score."""
    correct: Counter[float] = Counter()
    count: Counter[float] = Counter()
    for arrays in dimensions:
        has_distribution = np.isfinite(arrays.distribution).all(axis=1)
        likeliest = np.where(
            has_distribution, arrays.distribution.argmax(axis=1), arrays.predicted_step
        )
        for correct_step, chosen in zip(arrays.rated_step, likeliest, strict=True):
            count[arrays.scale[correct_step]] += 1
            correct[arrays.scale[correct_step]] += int(correct_step == chosen)
    figures = {"accuracy": correct.total() / count.total()}
    for score in sorted(count):
        figures[f"score_{score:g}/accuracy"] = correct[score] / count[score]
        figures[f"score_{score:g}/count"] = float(count[score])
    return figures
