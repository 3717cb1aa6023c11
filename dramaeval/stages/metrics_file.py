"""Computes the content of ``metrics.json``: agreement with people by split and phase, gains, slices and controls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.schema import Stage
from dramaeval.config.task_schema import evidence_splits, held_out_splits
from dramaeval.evaluation.agreement_table import agreement_text
from dramaeval.evaluation.comparison import compare
from dramaeval.evaluation.drop import drops
from dramaeval.evaluation.multiple_choice import summarise_options
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_gain import pair_gain
from dramaeval.evaluation.pairs.pair_ranking import NoRankingError, rank_pairs
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.evaluation.predictions import PHASES
from dramaeval.evaluation.published_convention import (
    published_figures,
    published_text,
    written_by_raters,
)
from dramaeval.evaluation.report.summary_text import drop_text
from dramaeval.evaluation.report.tables import Table, markdown
from dramaeval.evaluation.score_spread import (
    thought_text,
    with_thoughts,
    with_wordings,
    wording_text,
)
from dramaeval.evaluation.slices import slices
from dramaeval.evaluation.summary import summarise
from dramaeval.stages.api_context import ApiContext
from dramaeval.stages.context import RunContext
from dramaeval.stages.controls import measure_controls
from dramaeval.stages.predictions_file import PhasePredictions
from dramaeval.stages.read_splits import scale_notes
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

#: The predictions by phase, in the order of the phases.
Phases = Mapping[str, PhasePredictions]

#: The keys of figures without a scale: multiple choice and pairs.
OTHER_KINDS = ("choices", "pairs")


def bootstrap_settings(config: DictConfig) -> dict[str, Any]:
    """The settings of every bootstrap: seed, draws and level."""
    evaluation = config.evaluation
    return {"seed": config.seed, "draws": evaluation.draws, "level": evaluation.level}


def phase_figures(context: RunContext, phases: Phases) -> dict[str, Any]:
    """Compare the predictions of every phase with the raters.

    Returns:
        ``<split>.<phase>``: agreement over all ratings (see `summarise`); ``choices.<split>.<phase>``: accuracy
        of multiple choice (see `summarise_options`); ``pairs.<split>.<phase>``: agreement on pairs (see
        `summarise_pairs`); for a mixture also ``tasks.<name>.<split>.<phase>``: the same for each task. With
        ``evaluation.convention=published`` the agreement of each task also has ``published`` (see
        `published_figures`).
    """
    figures: dict[str, Any] = {}
    for phase, predictions in phases.items():
        for split, values in _by_split(context, predictions).items():
            for kind in OTHER_KINDS:
                if kind in values:
                    splits = figures.setdefault(kind, {})
                    splits.setdefault(split, {})[phase] = values.pop(kind)
            if values:
                figures.setdefault(split, {})[phase] = values
        for name in context.task.parts:
            for split, values in _by_split(context, predictions.of_task(name), name).items():
                splits = figures.setdefault("tasks", {}).setdefault(name, {})
                splits.setdefault(split, {})[phase] = values
    return figures


def _by_split(
    context: RunContext, predictions: PhasePredictions, part: str | None = None
) -> dict[str, dict[str, Any]]:
    """The figures by split: agreement, ``choices`` and ``pairs``; for the task ``part`` of a mixture, or for all tasks."""
    rated = _rated_dimensions(context, part)
    settings = bootstrap_settings(context.config)
    by_split: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for split, options in predictions.options.items():
        by_split[split]["choices"] = summarise_options(options, **settings)
    for split, pairs in predictions.pairs.items():
        by_split[split]["pairs"] = _pair_summary(context, split, pairs, part)
    for split, ratings in predictions.ratings.items():
        summary = summarise(ratings, list(rated), metrics=context.metrics, **settings)
        by_split[split] |= with_thoughts(with_wordings(summary, ratings), ratings)
        if context.config.evaluation.convention and (part or not context.task.parts):
            by_split[split]["published"] = published_figures(
                ratings,
                written_by_raters(
                    context.splits.of_task(split, part),
                    {key: dimension.annotation for key, dimension in rated.items()},
                ),
                {key: dimension.scale for key, dimension in rated.items()},
                **settings,
            )
    return by_split


def _rated_dimensions(context: RunContext, part: str | None) -> dict[str, Dimension]:
    """The dimensions with a scale by their key in predictions; for the task ``part`` of a mixture, or for all tasks."""
    if part is None:
        return {dimension.key: dimension for dimension in context.task.rated_dimensions}
    rated = context.task.parts[part].rated_dimensions
    return {f"{part}/{dimension.key}": dimension for dimension in rated}


def compared_dimensions(task: Task, part: str | None = None) -> dict[str, str]:
    """The titles of pairs' dimensions by key in predictions; for the task ``part`` of a mixture, or for all tasks."""
    parts = {part: task.parts[part]} if part else task.parts or {"": task}
    return {
        f"{name}/{dimension.key}" if name else dimension.key: dimension.heading
        for name, part_task in parts.items()
        if isinstance(part_task, PairTask)
        for dimension in part_task.dimensions
    }


def _pair_summary(
    context: RunContext, split: str, predictions: Sequence[PairPrediction], part: str | None
) -> dict[str, Any]:
    """The agreement on a split (see `summarise_pairs`), and ``unscored``: the number of pairs × dimensions unscored."""
    keys = list(compared_dimensions(context.task, part))
    summary = summarise_pairs(predictions, keys, **bootstrap_settings(context.config))
    asked = sum(
        len(context.task.dimensions_for(record))
        for record in context.splits.of_task(split, part)
        if record.clip_b is not None
    )
    return {**summary, "unscored": asked - len(predictions)}


def evidence(context: RunContext, phases: Phases, part: str | None = None) -> dict[str, Any]:
    """Measure the gain, slices and controls of the last phase on the test sets, else on val.

    Args:
        phases: the predictions of the run, or of a task of its mixture.
        part: the name of that task; None for the run.

    Returns:
        ``gain.<split>``: final − zero-shot (see `compare`); ``slices.<split>`` (see `slices`); with the stage
        ``controls`` also ``controls.<split>`` (see `measure_controls`). With several test sets also
        ``drop.<split>.<phase>``: agreement on the set minus agreement on the first set (see `drop`).
    """
    phase = list(phases)[-1]
    keys = list(_rated_dimensions(context, part))
    settings = bootstrap_settings(context.config)
    train = context.splits.of_task("train", part)
    names = list(context.config.evaluation.slices)
    measured: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    splits = evidence_splits(phases[phase].ratings)
    for split in splits:
        judge, records = phases[phase].ratings[split], context.splits.of_task(split, part)
        if len(phases) == 2:
            before = phases["zero_shot"].ratings[split]
            measured["gain"][split] = compare(judge, before, keys, **settings)
        measured["slices"][split] = slices(judge, records, train, names, **settings)
        if Stage.controls in context.stages:
            measured["controls"][split] = measure_controls(context, split, judge, keys, **settings)
    for name, predictions in phases.items() if len(splits) > 1 else ():
        ratings = {split: predictions.ratings[split] for split in splits}
        for split, figures in drops(ratings, keys, **settings).items():
            measured["drop"].setdefault(split, {})[name] = figures
    return measured


def pair_evidence(config: DictConfig, phases: Phases) -> dict[str, dict[str, Any]]:
    """The gain and the ranking of systems in the last phase on the test sets, else on val; empty without pairs.

    Returns:
        ``pair_gain.<split>``: final − zero-shot (see `pair_gain`); ``pair_systems.<split>``: see `rank_pairs`, or
        ``undefined`` with the reason if the pairs of a split cannot rank systems.
    """
    pairs, settings = phases[list(phases)[-1]].pairs, bootstrap_settings(config)
    measured: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for split in evidence_splits(pairs):
        if len(phases) == 2:
            before = phases["zero_shot"].pairs.get(split, [])
            dimensions = list(dict.fromkeys(p.dimension for p in pairs[split]))
            measured["pair_gain"][split] = pair_gain(pairs[split], before, dimensions, **settings)
        try:
            measured["pair_systems"][split] = rank_pairs(pairs[split], **settings)
        except NoRankingError as error:
            measured["pair_systems"][split] = {"undefined": str(error)}
    return measured


def about(context: RunContext) -> dict[str, Any]:
    """The value of ``about``: the rubric, the records and the method of scoring."""
    rubric, splits = context.task.rubric, context.splits
    notes = scale_notes(context.task)
    return {
        "rubric": {"name": rubric.name, "version": rubric.version},
        "records": {name: len(records) for name, records in splits.records.items()},
        "skipped": splits.skipped_summary(),
        "overlaps": list(splits.overlaps),
        "scoring": context.task.scoring(),
        "remarks": splits.remarks(context.task),
        **({"scales": notes} if notes else {}),
    }


def api_usage(context: RunContext) -> dict[str, Any]:
    """The key ``api`` with the requests, tokens and cost of a judge behind an endpoint; empty for other judges."""
    return {"api": context.usage()} if isinstance(context, ApiContext) else {}


def further_tables(figures: Mapping[str, Any]) -> list[str]:
    """Tables and lines for the log about wordings, thoughts, tasks, accuracy and pairs."""
    texts = []
    for split in held_out_splits(figures):
        for phase, summary in figures[split].items():
            lines = (wording_text(summary), thought_text(summary), published_text(summary))
            for line in filter(None, lines):
                texts.append(f"{split}, {PHASES[phase]}: {line}")
    for name, splits in figures.get("tasks", {}).items():
        for split, phases in splits.items():
            rated = {phase: summary for phase, summary in phases.items() if "macro" in summary}
            if rated:
                texts.append(agreement_text(rated, heading=f"{name}, {split}"))
            texts += [
                f"{name}, {split}, {PHASES[phase]}: {text}"
                for phase, summary in rated.items()
                if (text := published_text(summary))
            ]
    for split, by_phase in figures.get("drop", {}).items():
        texts += [drop_text(split, phase, figure) for phase, figure in by_phase.items()]
    return texts + list(map(markdown, _other_tables(figures)))


def _other_tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of accuracy and pairs, as on the pages."""
    # The modules of the pages take time to import.
    if choices := figures.get("choices"):
        from dramaeval.evaluation.report.choices_page import accuracy

        for split, phases in choices.items():
            yield accuracy(split, phases)
    if pairs := figures.get("pairs"):
        from dramaeval.evaluation.report.pair_tables import agreement

        for split, phases in pairs.items():
            yield from agreement(split, phases, {})


def objective_of(figures: Mapping[str, Any], phase: str) -> float | None:
    """The figure that a sweep maximises, on val or else on the first test set.

    It is the macro Pearson of ratings; without ratings, the macro accuracy on pairs without ties; without pairs, the
    accuracy on multiple-choice questions.
    """
    choices, pairs = (figures.get(kind, {}) for kind in OTHER_KINDS)
    for split in held_out_splits({**figures, **choices, **pairs}):
        if split in figures:
            return figures[split][phase]["macro"]["pearson"]
        if split in pairs:
            return pairs[split][phase]["macro"]["accuracy_untied"]
        return choices[split][phase]["overall"]["likelihood"]["accuracy"]
    return None
