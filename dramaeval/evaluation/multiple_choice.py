"""Accuracy on multiple-choice questions, overall and by category, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws, draws_for_intervals, interval
from dramaeval.evaluation.dimension_arrays import cluster_names, clusters_of
from dramaeval.evaluation.metrics.metric import mean_of_defined
from dramaeval.evaluation.option_predictions import NOT_WRITTEN, OptionPrediction
from dramaeval.evaluation.predictions import SCORED

NO_CATEGORY = "without a category"


def summarise_options(
    predictions: Sequence[OptionPrediction], *, seed: int, draws: int = 2_000, level: float = 0.95
) -> dict[str, Any]:
    """Compute the accuracy by likelihood, and the accuracy of generated answers if there are any.

    By likelihood, an answer is right if the right option is the likeliest; if n options tie, it counts 1/n.
    A generated answer that is none of the options is wrong. Questions without a right answer and unscored questions
    are left out. The summary counts ties, answers that are no option, and questions left out.

    Args:
        predictions: the predictions of one judge on one split.
        seed: seed of the bootstrap.
        draws: bootstrap draws of groups (by default clips); 0 for no intervals.
        level: confidence level of the percentile intervals.

    Returns:
        `overall` and `categories.<name>`, each with `likelihood` and, if answers were generated, `written`.
    """
    clusters = cluster_names(predictions)
    drawn = draws_for_intervals(len(clusters), draws, seed)
    by_category: dict[str, list[OptionPrediction]] = {}
    for prediction in sorted(predictions, key=lambda prediction: prediction.category or ""):
        by_category.setdefault(prediction.category or NO_CATEGORY, []).append(prediction)
    accuracy = partial(_accuracy, clusters=clusters, drawn=drawn, level=level)
    return {
        "overall": _results(predictions, accuracy),
        "categories": {name: _results(listed, accuracy) for name, listed in by_category.items()},
        "bootstrap": {"draws": draws if drawn else 0, "level": level, "clusters": len(clusters)},
    }


def _results(
    predictions: Sequence[OptionPrediction], accuracy: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    answerable = [prediction for prediction in predictions if prediction.answer is not None]
    scored = [prediction for prediction in answerable if prediction.scored]
    results: dict[str, Any] = {
        "likelihood": {
            **accuracy(scored, list(map(credit, scored))),
            "ties": sum(len(prediction.likeliest) > 1 for prediction in scored),
            "mean_log_p": mean_of_defined(map(_log_p, scored)),
        },
        "chance": mean_of_defined(1 / len(prediction.options) for prediction in predictions),
        "records": len(predictions),
        "unscored": dict(Counter(p.state for p in predictions if not p.scored)),
        "without_answer": len(predictions) - len(answerable),
    }
    written = [prediction for prediction in answerable if prediction.written_state != NOT_WRITTEN]
    if written:
        right = [float(prediction.chosen == prediction.answer) for prediction in written]
        failed = Counter(p.written_state for p in written if p.written_state != SCORED)
        results["written"] = {**accuracy(written, right), "no_option": dict(failed)}
    return results


def credit(prediction: OptionPrediction) -> float:
    """1/n if the right option is among the n likeliest options (n = 1 without a tie), else 0."""
    best = prediction.likeliest
    return 1 / len(best) if prediction.answer in best else 0.0


def _log_p(prediction: OptionPrediction) -> float:
    share = (prediction.distribution or ())[prediction.answer or 0]
    return float(np.log(max(share, 1e-12)))


def _accuracy(
    predictions: Sequence[OptionPrediction],
    right: Sequence[float],
    clusters: Mapping[tuple[str, str], int],
    drawn: BootstrapDraws | None,
    level: float,
) -> dict[str, Any]:
    values: dict[str, Any] = {"accuracy": mean_of_defined(right), "n": len(right), "interval": None}
    if drawn is None or not right:
        return values
    cluster = clusters_of(predictions, clusters)
    values["interval"] = interval(drawn.means(cluster, np.array(right)), level)
    return values
