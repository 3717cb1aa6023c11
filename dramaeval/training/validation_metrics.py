"""Validation during training: a handful of figures, cheap enough for every few steps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.metric import UndefinedError, value_of
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.multiple_choice import summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.record_reply import AnyPrediction


def validation_metrics(predictions: Sequence[AnyPrediction]) -> dict[str, float]:
    """Figures of scored predictions that have ratings, and of multiple-choice questions.

    Where there are both, ``choice_accuracy`` stands beside the figures of the ratings; where there are no
    ratings, ``accuracy`` and ``loss`` (the mean −log p of the right option) are those of the options.
    """
    options = [one for one in predictions if isinstance(one, OptionPrediction)]
    figures = _of_ratings([one for one in predictions if isinstance(one, Prediction)])
    if not options:
        return figures
    likely = summarise_options(options, seed=0, draws=0)["overall"]["likelihood"]
    if likely["accuracy"] is None:
        return figures
    own = {"accuracy": likely["accuracy"], "loss": -likely["mean_log_p"], "questions": likely["n"]}
    return own | figures | {"choice_accuracy": likely["accuracy"]}


def _of_ratings(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Loss, macro correlation and per-score accuracy of scored predictions that have ratings.

    ``loss`` is the cross-entropy between the raters' histogram and the judge's distribution over the scale,
    in nats, whatever is trained on, so that runs with other objectives compare. The macro takes the
    dimensions on which the correlation is defined; where there is none it is left out.
    """
    by_dimension: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_dimension[prediction.dimension].append(prediction)
    clusters = cluster_names(predictions)
    answers = [dimension_arrays(key, group, clusters) for key, group in by_dimension.items()]
    answers = [one for one in answers if one.n]
    if not answers:
        return {}
    figures = {
        "mse": float(
            np.mean(np.concatenate([(one.predicted - one.rated) ** 2 for one in answers]))
        ),
        "questions": float(sum(one.n for one in answers)),
    }
    losses = np.concatenate([_cross_entropies(one) for one in answers])
    if np.isfinite(losses).all():  # a regression head gives no distribution
        figures = {"loss": float(np.mean(losses)), **figures}
    correlations = {}
    for one in answers:
        try:
            correlations[one.dimension] = value_of(Pearson(), one)
        except UndefinedError:
            continue
    if correlations:
        figures["pearson"] = float(np.mean(list(correlations.values())))
    figures |= {f"pearson/{key}": value for key, value in correlations.items()}
    return figures | _accuracy(answers)


def _cross_entropies(answers: DimensionArrays) -> np.ndarray:
    """−mean over raters of log p(rating) for each record, ``[records]``."""
    # A probability that underflowed to 0 would make one question outweigh all others.
    log_p = np.log(np.maximum(answers.distribution, 1e-12))
    given = answers.ratings[:, :, None] == answers.scale
    return -(given * log_p[:, None, :]).sum(axis=(1, 2)) / given.sum(axis=(1, 2))


def _accuracy(answers: Sequence[DimensionArrays]) -> dict[str, float]:
    """Share of questions whose likeliest score is the one nearest the mean rating, overall and per score."""
    right: Counter[float] = Counter()
    count: Counter[float] = Counter()
    for one in answers:
        known = np.isfinite(one.distribution).all(axis=1)
        likeliest = np.where(known, one.distribution.argmax(axis=1), one.predicted_step)
        for wanted, chosen in zip(one.rated_step, likeliest, strict=True):
            count[one.scale[wanted]] += 1
            right[one.scale[wanted]] += int(wanted == chosen)
    figures = {"accuracy": right.total() / count.total()}
    for score in sorted(count):
        figures[f"score_{score:g}/accuracy"] = right[score] / count[score]
        figures[f"score_{score:g}/count"] = float(count[score])
    return figures
