"""The agreement of a judge of pairs as a Markdown table, for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dramaeval.evaluation.report.markup import in_markdown

COLUMNS = {"accuracy": "accuracy", "accuracy_untied": "without ties", "auroc": "AUROC"}


def pair_text(split: str, phases: Mapping[str, Any]) -> str:
    """Format the agreement on one split, one row per dimension and phase.

    Args:
        split: name of the split.
        phases: the results of `summarise_pairs` by phase.
    """
    lines = [
        f"{split}: pairs",
        "",
        f"| dimension | judge | {' | '.join(COLUMNS.values())} | raters without ties | pairs |",
        f"| --- | --- |{' --- |' * (len(COLUMNS) + 2)}",
    ]
    for phase, summary in phases.items():
        for name, values in {**summary["dimensions"], "mean": summary["macro"]}.items():
            cells = [_cell(values, metric) for metric in COLUMNS]
            ceiling = _cell(values["ceiling"], "accuracy_untied")
            lines.append(
                f"| {in_markdown(name)} | {phase.replace('_', '-')} | {' | '.join(cells)} | {ceiling} | "
                f"{values['pairs']} |"
            )
    return "\n".join(lines)


def _cell(values: Mapping[str, Any], metric: str) -> str:
    value, bounds = values[metric], values["interval"].get(metric)
    if value is None:
        return "-"
    return f"{value:.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")
