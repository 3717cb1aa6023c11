"""Accuracy on multiple-choice questions, overall and by category, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws, bootstrap_draws, interval
from dramaeval.evaluation.dimension_results import LEAST_CLUSTERS
from dramaeval.evaluation.option_predictions import NOT_WRITTEN, OptionPrediction
from dramaeval.evaluation.predictions import SCORED
from dramaeval.evaluation.report.markup import in_markdown

NO_CATEGORY = "without a category"


def summarise_options(
    predictions: Sequence[OptionPrediction], *, seed: int, draws: int = 2_000, level: float = 0.95
) -> dict[str, Any]:
    """Accuracy by likelihood, and accuracy of the generated answers where there are any.

    By likelihood an answer is right if the right option is the likeliest; if n options tie, it counts 1/n, and
    the tie is counted. A generated answer that is none of the options is wrong, and is counted. Questions
    without a right answer, and unscored ones, are left out and counted.

    Args:
        predictions: the predictions of one judge on one split.
        seed: seed of the bootstrap.
        draws: bootstrap draws of groups (by default clips); 0 for no intervals.
        level: confidence level of the percentile intervals.

    Returns:
        `overall` and `categories.<name>`, each with `likelihood` and, if there is any, `written`.
    """
    names = sorted({_cluster(prediction) for prediction in predictions})
    number = {name: at for at, name in enumerate(names)}
    drawn = (
        bootstrap_draws(len(names), draws, seed) if draws and len(names) >= LEAST_CLUSTERS else None
    )
    categories = {prediction.category for prediction in predictions}
    by_category = {
        category or NO_CATEGORY: [
            prediction for prediction in predictions if prediction.category == category
        ]
        for category in sorted(categories, key=lambda name: name or "")
    }
    return {
        "overall": _figures(predictions, number, drawn, level),
        "categories": {
            name: _figures(some, number, drawn, level) for name, some in by_category.items()
        },
        "bootstrap": {"draws": draws if drawn else 0, "level": level, "clusters": len(names)},
    }


def _cluster(prediction: OptionPrediction) -> str:
    return prediction.group or prediction.id


def _figures(
    predictions: Sequence[OptionPrediction],
    number: Mapping[str, int],
    drawn: BootstrapDraws | None,
    level: float,
) -> dict[str, Any]:
    scored = [
        prediction
        for prediction in predictions
        if prediction.scored and prediction.answer is not None
    ]
    figures: dict[str, Any] = {
        "likelihood": {
            **_accuracy(
                scored, [credit(prediction) for prediction in scored], number, drawn, level
            ),
            "ties": sum(len(prediction.likeliest) > 1 for prediction in scored),
            "mean_log_p": _mean([_log_p(prediction) for prediction in scored]),
        },
        "chance": _mean([1 / len(prediction.options) for prediction in predictions]),
        "records": len(predictions),
        "unscored": dict(
            Counter(prediction.state for prediction in predictions if not prediction.scored)
        ),
        "without_answer": sum(prediction.answer is None for prediction in predictions),
    }
    wrote = [
        prediction
        for prediction in predictions
        if prediction.written_state != NOT_WRITTEN and prediction.answer is not None
    ]
    if wrote:
        right = [float(prediction.chosen == prediction.answer) for prediction in wrote]
        failed = Counter(
            prediction.written_state for prediction in wrote if prediction.written_state != SCORED
        )
        figures["written"] = {
            **_accuracy(wrote, right, number, drawn, level),
            "no_option": dict(failed),
        }
    return figures


def credit(prediction: OptionPrediction) -> float:
    """1 where the right option is the only likeliest one, 1/n where n options tie, else 0."""
    best = prediction.likeliest
    return 1 / len(best) if prediction.answer in best else 0.0


def _log_p(prediction: OptionPrediction) -> float:
    share = (prediction.distribution or ())[prediction.answer or 0]
    return float(np.log(max(share, 1e-12)))


def _accuracy(
    predictions: Sequence[OptionPrediction],
    right: Sequence[float],
    number: Mapping[str, int],
    drawn: BootstrapDraws | None,
    level: float,
) -> dict[str, Any]:
    values: dict[str, Any] = {"accuracy": _mean(right), "n": len(right), "interval": None}
    if drawn is None or not right:
        return values
    cluster = np.array([number[_cluster(prediction)] for prediction in predictions])
    sums = drawn.sums(cluster, np.stack([np.array(right), np.ones(len(right))], axis=1))
    with np.errstate(invalid="ignore"):
        values["interval"] = interval(sums[:, 0] / sums[:, 1], level)
    return values


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def accuracy_text(phases: Mapping[str, Mapping[str, Any]], heading: str) -> str:
    """The accuracy on one split as a Markdown table, one row per category and phase."""
    lines = [
        heading,
        "",
        "| category | judge | by likelihood | as written | chance | n | ties | no option written |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for phase, summary in phases.items():
        for name, values in {**summary["categories"], "all": summary["overall"]}.items():
            likely, wrote = values["likelihood"], values.get("written")
            lines.append(
                f"| {in_markdown(name)} | {phase.replace('_', '-')} | {_with_interval(likely)} | {_with_interval(wrote)} | "
                f"{_number(values['chance'])} | {likely['n']} | {likely['ties']} | "
                f"{sum(wrote['no_option'].values()) if wrote else '-'} |"
            )
    return "\n".join(lines)


def _with_interval(values: Mapping[str, Any] | None) -> str:
    if values is None or values["accuracy"] is None:
        return "-"
    limits = values["interval"]
    return _number(values["accuracy"]) + (
        f" [{_number(limits[0])}, {_number(limits[1])}]" if limits else ""
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
