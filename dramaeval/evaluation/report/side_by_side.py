"""Compares runs on the same records, or judges of pairs on the same pairs: each run with the first, and every two runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from dramaeval.data.problems import counted, first_of
from dramaeval.evaluation.comparison import adjust_p_values, compare
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.rank_correlations import Kendall, Spearman
from dramaeval.evaluation.metrics.score_errors import (
    Concordance,
    MeanAbsoluteError,
    MeanSquaredError,
)
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_gain import pair_gain
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.published_convention import SCALES, published_figures
from dramaeval.evaluation.report.read_results import Results, ResultsError
from dramaeval.evaluation.summary import summarise

#: The metric by which every two judges of pairs are compared.
MAIN = "accuracy_untied"
#: The metrics of the comparison of scores.
COMPARED = (
    Pearson(), Spearman(), Kendall(), MeanSquaredError(), MeanAbsoluteError(), Concordance(),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        names: names of the runs; the others are compared with the first.
        dimensions: titles of the dimensions that all runs have, by key.
        summaries: results of `summarise` on the common records, by run.
        against_first: results of `compare` (run − first), by run.
        pairs: the macro difference of every two runs in Pearson (for runs that judge pairs: accuracy without ties),
            with p adjusted over the pairs of runs.
        published: results of `published_figures` on all records of a run, by run; empty if no run has them.
        differing: settings that differ between the runs, by dotted key.
        notes: remarks, for example about what the comparison leaves out.
    """

    names: Sequence[str]
    dimensions: Mapping[str, str]
    summaries: Mapping[str, Mapping[str, Any]]
    against_first: Mapping[str, Mapping[str, Any]]
    pairs: Sequence[Mapping[str, Any]]
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    differing: Mapping[str, Sequence[Any]]
    notes: Sequence[str]


class PairComparison(Comparison):
    """The result of a comparison on the common pairs, with results of `summarise_pairs` and `pair_gain`."""


def side_by_side(runs: Sequence[Results], *, seed: int, draws: int, level: float) -> Comparison:
    """Compare runs on the records × dimensions that all runs have.

    Raises:
        ResultsError: the runs have no record in common, or their ratings or clips differ.
    """
    _require_same_clips(runs)
    notes = [note for run in runs for note in run.notes]
    common = _common(runs)
    notes += [*_other_scales(runs).values(), *_absent_dimensions(runs)]
    titles = _common_titles(runs, common)
    notes += _left_out_notes({run.name: len(run.predictions) for run in runs}, common, "answer")
    aligned = _aligned(runs, common)
    settings: dict[str, Any] = {"seed": seed, "draws": draws, "level": level}
    published, remarks = _published(runs, settings)
    notes += remarks
    first, *others = aligned

    def on_common(a: Sequence[Prediction], b: Sequence[Prediction], **more: Any) -> dict[str, Any]:
        return compare(a, b, list(titles), **settings, **more)

    try:
        summaries = {
            name: summarise(predictions, list(titles), **settings)
            for name, predictions in aligned.items()
        }
        against = {
            name: on_common(aligned[name], aligned[first], metrics=COMPARED) for name in others
        }
        pairs = _every_two(aligned, against, on_common, "pearson")
    except ValueError as error:
        raise ResultsError(str(error)) from None
    return Comparison(
        names=list(aligned),
        dimensions=titles,
        summaries=summaries,
        against_first=against,
        pairs=pairs,
        published=published,
        differing=_differing(runs),
        notes=notes,
    )


def pairs_side_by_side(
    runs: Sequence[Results], *, seed: int, draws: int, level: float
) -> PairComparison:
    """Compare runs on the pairs × dimensions that all runs have.

    Raises:
        ResultsError: a run has scores of single clips, the runs have no pair in common, or votes or clips differ.
    """
    if single := [run.name for run in runs if not run.pairs]:
        raise ResultsError(
            f"{', '.join(single)}: it has scores of single clips, and other runs compare pairs: compare runs of one "
            "kind. A judge of single clips is evaluated on pairs with stages=[evaluate] checkpoint=RUN task=pair."
        )
    _require_same_clips(runs)
    by_run = {run.name: {(p.id, p.dimension): p for p in run.pairs} for run in runs}
    common = set.intersection(*map(set, by_run.values()))
    if not common:
        raise ResultsError(
            "these runs have no pair × dimension in common: compare runs on the same file and rubric."
        )
    _require_same_votes(by_run, common)
    aligned = {
        name: [p for key, p in by_key.items() if key in common] for name, by_key in by_run.items()
    }
    titles = _common_titles(runs, common)
    settings: dict[str, Any] = {"seed": seed, "draws": draws, "level": level}

    def gain(a: Sequence[PairPrediction], b: Sequence[PairPrediction]) -> dict[str, Any]:
        return pair_gain(a, b, list(titles), **settings)

    first, *others = aligned
    against = {name: gain(aligned[name], aligned[first]) for name in others}
    return PairComparison(
        names=list(aligned),
        dimensions=titles,
        summaries={
            name: summarise_pairs(predictions, list(titles), **settings)
            for name, predictions in aligned.items()
        },
        against_first=against,
        pairs=_every_two(aligned, against, gain, MAIN),
        differing=_differing(runs),
        notes=_left_out_notes({name: len(of) for name, of in by_run.items()}, common, "comparison"),
    )


def common_predictions(runs: Sequence[Results]) -> dict[str, list[Prediction]]:
    """The predictions of each run on the records × dimensions that all runs have.

    Raises:
        ResultsError: the runs have no record in common.
    """
    return _aligned(runs, _common(runs))


def _common_titles(runs: Sequence[Results], common: Collection[tuple[str, str]]) -> dict[str, str]:
    """The titles of the dimensions in ``common`` (record or pair, dimension), by key; a key without a title is its own."""
    keys = {key for _, key in common}
    titles = {key: title for run in runs for key, title in run.titles.items() if key in keys}
    return {key: titles.get(key) or key for key in [*titles, *sorted(keys - set(titles))]}


def _left_out_notes(answers: Mapping[str, int], common: Collection[Any], unit: str) -> list[str]:
    """A note about each run with more ``answers`` than the ``common`` ones."""
    return [
        f"{name}: {counted(number - len(common), unit)} left out, because not every run has them."
        for name, number in answers.items()
        if number > len(common)
    ]


def _every_two(
    aligned: Mapping[str, Sequence[Any]],
    against: Mapping[str, Mapping[str, Any]],
    compare_two: Callable[[Sequence[Any], Sequence[Any]], Mapping[str, Any]],
    metric: str,
) -> list[dict[str, Any]]:
    """The macro difference of every two runs in a metric, with p adjusted over the pairs of runs.

    Args:
        aligned: the predictions of each run on the common records.
        against: the comparisons of the other runs with the first.
        compare_two: compares the predictions of two runs.
        metric: key of the metric.
    """
    first = next(iter(aligned))
    pairs = []
    for a, b in combinations(aligned, 2):
        compared = against[b] if a == first else compare_two(aligned[b], aligned[a])
        macro = compared["macro"][metric] or {}
        figures = {name: macro.get(name) for name in ("difference", "interval", "p")}
        pairs.append({"run": b, "against": a, **figures, "p_adjusted": None})
    adjust_p_values(pairs)
    return pairs


def _published(
    runs: Sequence[Results], settings: Mapping[str, Any]
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The results of `published_figures` by run, and remarks about runs without them.

    A run has these figures if it was evaluated with ``evaluation.convention=published``. If at least one run has them,
    they are also computed for results of the published scripts, which have the raters' values as written.
    """
    if not any(run.published for run in runs):
        return {}, []
    grouped = _aligned(runs, {(p.id, p.dimension) for run in runs for p in run.predictions})
    figures: dict[str, Mapping[str, Any]] = {}
    remarks = []
    for run in runs:
        scales = {p.dimension: p.scale for p in run.predictions}
        if run.published:
            figures[run.name] = run.published
        elif run.raw and all(scale in SCALES for scale in scales.values()):
            figures[run.name] = published_figures(grouped[run.name], run.raw, scales, **settings)
        else:
            why = "its file does not hold the ratings."
            if run.config:
                why = "evaluate it with evaluation.convention=published."
            remarks.append(f"{run.name} is not counted as published: {why}")
    return figures, remarks


def _common(runs: Sequence[Results]) -> set[tuple[str, str]]:
    common = set.intersection(*({(p.id, p.dimension) for p in run.predictions} for run in runs))
    other_scales = _other_scales(runs)
    comparable = {pair for pair in common if pair[1] not in other_scales}
    if common and not comparable:
        raise ResultsError(f"these runs have no scale in common: {' '.join(other_scales.values())}")
    if not common:
        raise ResultsError(
            "these runs have no record × dimension in common: compare runs on the same file and rubric."
        )
    return comparable


def _other_scales(runs: Sequence[Results]) -> dict[str, str]:
    """A note about each dimension whose figures cannot be compared, because the ends of its scale differ between runs.

    Scales with the same ends and other points between them (bins) have the same unit.
    """
    ends: dict[str, dict[str, str]] = {}
    for run in runs:
        for prediction in run.predictions:
            low, high = prediction.scale[0], prediction.scale[-1]
            ends.setdefault(prediction.dimension, {})[run.name] = f"{low:g}-{high:g}"
    return {
        key: f"{key} is left out: its scale is "
        + ", ".join(f"{scale} in {run}" for run, scale in by_run.items())
        + "."
        for key, by_run in ends.items()
        if len(set(by_run.values())) > 1
    }


def _absent_dimensions(runs: Sequence[Results]) -> list[str]:
    """Notes about dimensions that only some of the runs have."""
    by_run = {run.name: {prediction.dimension for prediction in run.predictions} for run in runs}
    keys = [key for run in runs for key in dict.fromkeys(p.dimension for p in run.predictions)]
    return [
        f"{key} is left out: {', '.join(names)} has no answers on it."
        for key in dict.fromkeys(keys)
        if (names := [name for name, present in by_run.items() if key not in present])
    ]


def _require_same_clips(runs: Sequence[Results]) -> None:
    """Check that all runs have the same clip for the same record.

    Raises:
        ResultsError: they have not; the message names the first records with different clips.
    """
    first = runs[0]
    for run in runs[1:]:
        common = [name for name in first.clips if name in run.clips]
        differing_clips = [name for name in common if first.clips[name] != run.clips[name]]
        if differing_clips:
            raise ResultsError(
                f"{first.name} and {run.name} were evaluated on other clips: {len(differing_clips)} of {len(common)} records "
                f"have the same id and another clip ({first_of(differing_clips)}). Evaluate both on the same clips."
            )


def _require_same_votes(
    by_run: Mapping[str, Mapping[tuple[str, str], PairPrediction]], common: set[tuple[str, str]]
) -> None:
    first, *others = by_run
    for key in sorted(common):
        votes = by_run[first][key].votes
        for name in others:
            if by_run[name][key].votes != votes:
                raise ResultsError(
                    f"{first} and {name} have different data: pair {key[0]!r} on {key[1]!r} has the votes {votes} in "
                    f"the first and {by_run[name][key].votes} in the second; evaluate both on the same file, with the "
                    "same task.derive."
                )


def _aligned(
    runs: Sequence[Results], common: Collection[tuple[str, str]]
) -> dict[str, list[Prediction]]:
    """The predictions of each run on the common records, with groups and systems from any run that has them."""
    groups: dict[tuple[str, str], str] = {}
    systems: dict[tuple[str, str], str] = {}
    for run in runs:
        for prediction in run.predictions:
            if prediction.group is not None:
                groups.setdefault(_record_of(prediction), prediction.group)
            if prediction.system is not None:
                systems.setdefault(_record_of(prediction), prediction.system)
    return {
        run.name: [
            replace(
                prediction,
                group=groups.get(_record_of(prediction)),
                system=systems.get(_record_of(prediction)),
            )
            for prediction in run.predictions
            if (prediction.id, prediction.dimension) in common
        ]
        for run in runs
    }


def _record_of(prediction: Prediction) -> tuple[str, str]:
    """The task of a mixture, an empty text without a mixture, and the id; ids may repeat between tasks."""
    return prediction.dimension.rpartition("/")[0], prediction.id


#: Prefixes of settings that do not change the results.
_IGNORED = ("hydra.", "logger.", "task.rubric.")
#: The settings that identify a rubric.
_RUBRIC = ("task.rubric.name", "task.rubric.version")


def _differing(runs: Sequence[Results]) -> dict[str, list[Any]]:
    """The settings that differ between the runs with known settings, sorted by key."""
    with_settings = [run for run in runs if run.config]
    keys = sorted({key for run in with_settings for key in run.config})
    absent = "(none)"
    return {
        key: [run.config.get(key, absent) if run.config else "?" for run in runs]
        for key in keys
        if (key in _RUBRIC or not key.startswith(_IGNORED))
        and len({repr(run.config.get(key, absent)) for run in with_settings}) > 1
    }
