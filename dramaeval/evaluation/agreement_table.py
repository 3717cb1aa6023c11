"""Makes the table at the end of a run: agreement with people by dimension, before and after training."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dramaeval.evaluation.predictions import PHASES
from dramaeval.evaluation.report.markup import in_markdown, printable
from dramaeval.evaluation.report.tables import interval_note

WIDE = 130
"""Minimum width in characters at which all columns of both phases fit on one line."""

TIGHT = 100
"""Below this width in characters there is no extra space between columns."""

NOTHING = "-"


def agreement_table(
    phases: Mapping[str, Mapping[str, Any]],
    *,
    titles: Mapping[str, str] | None = None,
    heading: str | None = None,
    width: int = WIDE,
    plain: bool = False,
) -> Group:
    """Lay out the summaries (`summarise`) of one split: `{"zero_shot": …, "final": …}`, one or both phases.

    `titles` maps the keys of the dimensions to titles. If `width` is under `WIDE` characters, each interval
    is on the line below its value, and only the last phase has rank correlations. `plain` returns a Markdown
    table with all values. Notes below the table list undefined and missing values and describe the
    intervals. Raises ValueError if no summary is of a known phase.
    """
    shown = {phase: phases[phase] for phase in PHASES if phase in phases}
    if not shown:
        raise ValueError(f"no summary to show; known phases are {', '.join(PHASES)}")
    narrow = width < WIDE and not plain
    last = list(shown)[-1]
    table = Table(
        title=None if heading is None else escape(heading),
        title_justify="left",
        box=box.MARKDOWN if plain else box.SIMPLE_HEAD,
        padding=(0, 1) if plain else (0, 0 if width < TIGHT else 1, 0, 0),
        pad_edge=plain,
        show_edge=plain,
    )
    table.add_column("dimension", min_width=12)
    for phase in shown:
        gap = " " if plain else "\n"
        table.add_column(f"{PHASES[phase]}{gap}Pearson", no_wrap=True)
        if phase == last or not narrow:
            for name in ("Spearman", "Kendall"):
                table.add_column(name if narrow else f"{PHASES[phase]}{gap}{name}", no_wrap=True)
    for name in ("ceiling", "n", "un-\nscored" if narrow else "unscored"):
        table.add_column(name, justify="right", no_wrap=True)

    def row(title: str, values_by_phase: Mapping[str, Mapping[str, Any]]) -> list[Text]:
        cells = [in_markdown(title) if plain else " ".join(printable(title).split())]
        for phase, values in values_by_phase.items():
            cells += _agreement(values, narrow)[: 1 if narrow and phase != last else 3]
        return [Text(cell) for cell in (*cells, *_ceiling_and_counts(values_by_phase[last]))]

    for key in shown[last]["dimensions"]:
        values_by_phase = {phase: summary["dimensions"][key] for phase, summary in shown.items()}
        table.add_row(*row((titles or {}).get(key, key), values_by_phase))
    if not plain:
        table.add_section()
    macros = {phase: summary["macro"] for phase, summary in shown.items()}
    table.add_row(*row("macro", macros), style="bold")
    lines = notes(shown)
    if narrow and len(shown) > 1:
        lines.append(f"Spearman, Kendall: {PHASES[last]}; the log has both phases")
    return Group(table, *(Text(line) for line in lines))


def agreement_text(
    phases: Mapping[str, Mapping[str, Any]],
    *,
    titles: Mapping[str, str] | None = None,
    heading: str | None = None,
) -> str:
    """The same table as plain text for a log: a Markdown table, then the notes."""
    table = agreement_table(phases, titles=titles, heading=heading, plain=True)
    # The width holds any row, because a log is not wrapped.
    console = Console(file=io.StringIO(), width=400, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def print_agreement(
    phases: Mapping[str, Mapping[str, Any]],
    *,
    titles: Mapping[str, str] | None = None,
    heading: str | None = None,
    console: Console | None = None,
) -> None:
    """Print the table at the width of a terminal, or as plain text if the output is no terminal."""
    console = console or Console()
    if console.is_terminal:
        console.print(agreement_table(phases, titles=titles, heading=heading, width=console.width))
    else:
        text = agreement_text(phases, titles=titles, heading=heading)
        console.print(text, soft_wrap=True, markup=False, highlight=False)


def notes(phases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Notes below the table: undefined and missing values, then the intervals."""
    lines = [
        f"{PHASES[phase]}: {n}" for phase, summary in phases.items() for n in missing_notes(summary)
    ]
    last = list(phases.values())[-1]
    lines += interval_notes(last["bootstrap"])
    lines.append("ceiling: Pearson of one rater with the mean of the others")
    if reasons := last["macro"]["ceiling"]["undefined"]:
        lines.append(f"no ceiling: {_by_reason(reasons, last['macro']['dimensions'])}")
    return lines


def interval_notes(bootstrap: Mapping[str, Any]) -> list[str]:
    """The note about the intervals of a summary; none if it was made without draws."""
    if not bootstrap["draws"] and not bootstrap["undefined"]:
        return []
    groups = f" of {bootstrap['clusters']:,} groups of records"
    return [interval_note(bootstrap, groups, bootstrap["undefined"])]


def missing_notes(summary: Mapping[str, Any]) -> list[str]:
    """Notes about undefined correlations, and about answers without a score or without a rating."""
    macro = summary["macro"]
    lines = []
    if reasons := macro["dimensions_undefined"].get("pearson"):
        lines.append(
            f"Macro over {macro['dimensions_defined']['pearson']} of {macro['dimensions']} dimensions; "
            f"{_by_reason(reasons, macro['dimensions'])}."
        )
    if macro["unscored"]:
        reasons_by_dimension = (v["unscored_reasons"] for v in summary["dimensions"].values())
        states: Counter[str] = sum(map(Counter, reasons_by_dimension), Counter())
        listed = ", ".join(f"{number:,} {state}" for state, number in states.items())
        lines.append(f"{macro['unscored']:,} of {macro['records']:,} answers unscored ({listed}).")
    if macro["missing"]:
        lines.append(f"{macro['missing']:,} of {macro['records']:,} answers without any rating.")
    return lines


def _by_reason(reasons: Mapping[str, str], dimensions: int) -> str:
    keys: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        keys.setdefault(reason, []).append(key)
    return "; ".join(
        f"{'all' if len(listed) == dimensions else ', '.join(listed)}: {reason}"
        for reason, listed in keys.items()
    )


def _agreement(values: Mapping[str, Any], narrow: bool) -> tuple[str, str, str]:
    interval = values["interval"].get("pearson")
    pearson = _number(values["pearson"])
    if interval is not None:
        low, high = _number(interval[0]), _number(interval[1])
        pearson += f"{chr(10) if narrow else ' '}[{low}, {high}]"
    return pearson, _number(values["spearman"]), _number(values["kendall"])


def _ceiling_and_counts(values: Mapping[str, Any]) -> tuple[str, str, str]:
    return _number(values["ceiling"]["pearson"]), f"{values['n']:,}", f"{values['unscored']:,}"


def _number(value: float | None) -> str:
    if value is None:
        return NOTHING
    # A small negative number is not shown as "-0.00".
    return f"{value:.2f}" if abs(value) >= 0.005 else "0.00"
