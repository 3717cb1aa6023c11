"""The figures by the published conventions in a comparison: read from runs, or computed for published results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.published_convention import SCALES, published_figures
from dramaeval.evaluation.report.read_results import Results


def published_by_run(
    runs: Sequence[Results], grouped: Mapping[str, Sequence[Prediction]], **bootstrap: Any
) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The results of `published_figures` by run, and remarks about runs without them.

    A run has these figures if it was evaluated with ``evaluation.convention=published``. If at least one run has them,
    they are also computed for results of the published scripts, which have the raters' values as written.

    Args:
        runs: the results to compare.
        grouped: the predictions by run, with the groups that the bootstrap draws together.
        bootstrap: seed, draws and level.
    """
    if not any(run.published for run in runs):
        return {}, []
    figures: dict[str, Mapping[str, Any]] = {}
    remarks = []
    for run in runs:
        scales = {p.dimension: p.scale for p in run.predictions}
        if run.published:
            figures[run.name] = run.published
        elif run.raw and all(scale in SCALES for scale in scales.values()):
            figures[run.name] = published_figures(grouped[run.name], run.raw, scales, **bootstrap)
        else:
            remarks.append(
                f"{run.name} is not counted as published: "
                + (
                    "evaluate it with evaluation.convention=published."
                    if run.config
                    else "its file does not hold the ratings."
                )
            )
    return figures, remarks
