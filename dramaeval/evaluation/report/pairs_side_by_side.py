"""Comparison of runs that judge pairs, on the same pairs: each run against the first, and every two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from dramaeval.data.problems import counted
from dramaeval.evaluation.comparison import adjust_p_values
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_gain import pair_gain
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.evaluation.report.read_results import Results, ResultsError
from dramaeval.evaluation.report.side_by_side import Comparison, differing, require_same_clips

#: The metric by which every two runs are compared.
MAIN = "accuracy_untied"


class PairComparison(Comparison):
    """The result of a comparison on the common pairs, with results of `summarise_pairs` and `pair_gain`."""


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
    require_same_clips(runs)
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
    keys = {key for _, key in common}
    titles = {key: title for run in runs for key, title in run.titles.items() if key in keys}
    dimensions = {key: titles.get(key) or key for key in [*titles, *sorted(keys - set(titles))]}
    settings: dict[str, Any] = {"seed": seed, "draws": draws, "level": level}
    first, *others = aligned
    against = {
        name: pair_gain(aligned[name], aligned[first], list(dimensions), **settings)
        for name in others
    }
    pairs = []
    for a, b in combinations(aligned, 2):
        gain = (
            against[b]
            if a == first
            else pair_gain(aligned[b], aligned[a], list(dimensions), **settings)
        )
        entry = gain["macro"][MAIN] or {}
        values = {name: entry.get(name) for name in ("difference", "interval", "p")}
        pairs.append({"run": b, "against": a, **values, "p_adjusted": None})
    adjust_p_values(pairs)
    return PairComparison(
        names=list(aligned),
        dimensions=dimensions,
        summaries={
            name: summarise_pairs(predictions, list(dimensions), **settings)
            for name, predictions in aligned.items()
        },
        against_first=against,
        pairs=pairs,
        differing=differing(runs),
        notes=[
            f"{name}: {counted(left_out, 'comparison')} left out, because not every run has them."
            for name, of in by_run.items()
            if (left_out := len(of) - len(common))
        ],
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
