"""Computes the part of ``metrics.json`` about pairs: agreement by split and phase, gain, and the ranking of systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.config.task_schema import evidence_splits
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_gain import pair_gain
from dramaeval.evaluation.pairs.pair_ranking import NoRankingError, rank_pairs
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.stages.context import RunContext
from dramaeval.stages.predictions_file import PhasePredictions
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.task import Task


def compared_dimensions(task: Task, part: str | None = None) -> dict[str, str]:
    """The titles of pairs' dimensions by key in predictions; for the task ``part`` of a mixture, or for all tasks."""
    parts = task.parts if part is None else {part: task.parts[part]}
    if not parts:
        return _titles(task, "") if isinstance(task, PairTask) else {}
    titles: dict[str, str] = {}
    for name, part_task in parts.items():
        titles |= _titles(part_task, f"{name}/") if isinstance(part_task, PairTask) else {}
    return titles


def _titles(task: Task, prefix: str) -> dict[str, str]:
    return {f"{prefix}{dimension.key}": dimension.heading for dimension in task.dimensions}


def pair_summary(
    context: RunContext,
    split: str,
    predictions: Sequence[PairPrediction],
    part: str | None,
    bootstrap: Mapping[str, Any],
) -> dict[str, Any]:
    """The agreement on a split (see `summarise_pairs`), and ``unscored``: the number of pairs × dimensions unscored."""
    keys = list(compared_dimensions(context.task, part))
    summary = summarise_pairs(predictions, keys, **bootstrap)
    asked = sum(
        len(context.task.dimensions_for(record))
        for record in context.splits.of_task(split, part)
        if record.clip_b is not None
    )
    return {**summary, "unscored": asked - len(predictions)}


def pair_evidence(
    phases: Mapping[str, PhasePredictions], bootstrap: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The gain and the ranking of systems in the last phase on the test sets, else on val; empty without pairs.

    Returns:
        ``pair_gain.<split>``: final − zero-shot (see `pair_gain`); ``pair_systems.<split>``: see `rank_pairs`, or
        ``undefined`` with the reason if the pairs of a split cannot rank systems.
    """
    pairs = phases[list(phases)[-1]].pairs
    if not pairs:
        return {}
    boards: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for split in evidence_splits(pairs):
        if len(phases) == 2:
            before = phases["zero_shot"].pairs.get(split, [])
            dimensions = list(dict.fromkeys(p.dimension for p in pairs[split]))
            gains[split] = pair_gain(pairs[split], before, dimensions, **bootstrap)
        try:
            boards[split] = rank_pairs(pairs[split], **bootstrap)
        except NoRankingError as error:
            boards[split] = {"undefined": str(error)}
    return {**({"pair_gain": gains} if gains else {}), "pair_systems": boards}
