"""Comparison of runs that judge pairs, on the same pairs: each run against the first, and every two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_gain import pair_gain
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.evaluation.report.read_results import Results, ResultsError
from dramaeval.evaluation.report.side_by_side import (
    Comparison,
    common_titles,
    differing,
    every_two,
    left_out_notes,
    require_same_clips,
)

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
    titles = common_titles(runs, common)
    settings: dict[str, Any] = {"seed": seed, "draws": draws, "level": level}
    gain = partial(pair_gain, dimensions=list(titles), **settings)
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
        pairs=every_two(aligned, against, gain, MAIN),
        differing=differing(runs),
        notes=left_out_notes({name: len(of) for name, of in by_run.items()}, common, "comparison"),
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
