"""The page of a leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from markupsafe import Markup

from dramaeval.data.problems import counted
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.about_board import AboutBoard
from dramaeval.evaluation.report.markup import render_page
from dramaeval.evaluation.report.tables import (
    NOTHING,
    Cell,
    Column,
    Columns,
    Table,
    count_of,
    first_rows,
    interval_note,
    number,
    shown,
    table_of,
    with_interval,
    yes_or_no,
)

MOST_COMPARED = 32
"""The page shows the pairs of only this number of best systems (496 pairs); tables/pairs.csv has all pairs."""
MOST_NAMED = 8
"""Maximum number of systems that one sentence or cell names."""


def render_board(
    board: Mapping[str, Any],
    tables: Mapping[str, Table],
    name: str,
    facts: Sequence[str],
    config: str,
    about: AboutBoard,
    *,
    sentences: Sequence[str],
    forest: Markup,
    caption: str = "Mean score with its interval.",
) -> str:
    """Render the page of a ranking, a self-contained HTML file.

    Args:
        board: the result of `rank` or of `rank_pairs`.
        tables: the bounded tables, see `shown_tables`.
        name: name of the run.
        facts: short facts about the run, for the head of the page.
        config: the resolved configuration, as YAML.
        about: the parts of the page besides the ranking.
        sentences: the summary.
        forest: the figure of the systems.
        caption: caption of the figure.
    """
    context = {
        "title": f"{name}: leaderboard",
        "kind": "dramaeval leaderboard",
        "heading": name,
        "facts": [about.date, *facts],
        "contents": [
            ("summary", "Summary"),
            ("ranking", "Ranking"),
            ("pairs", "Differences"),
            *([("examples", "Best and worst prompts")] if about.examples else []),
            ("judge", "Judge and dimensions"),
            ("run", "Run"),
        ],
        "summary": sentences,
        "forest": forest,
        "caption": caption,
        "forest_note": plots.limit_note(len(board["systems"]), plots.MOST_ROWS, "systems"),
        "tables": [tables["ranking"], tables["dimensions"]],
        "pairs": tables["pairs"],
        "config": config,
        "about": about,
    }
    return render_page("board.html.j2", context)


def tables_of(board: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Table]:
    """All tables by key, with all rows."""
    return {
        "ranking": ranking(board),
        "dimensions": by_dimension(board, titles),
        "pairs": pairs(board["pairs"]),
    }


def shown_tables(
    board: Mapping[str, Any],
    tables: Mapping[str, Table],
    make_table: Callable[[Sequence[Mapping[str, Any]]], Table] | None = None,
) -> dict[str, Table]:
    """Bound the tables for the page and the Markdown file; of many pairs, keep those of the best systems.

    Args:
        board: the ranking.
        tables: the tables with all rows.
        make_table: makes the table of pairs of systems; by default `pairs`.
    """
    bounded = {key: first_rows(table, f"tables/{key}.csv") for key, table in tables.items()}
    systems = list(board["systems"])
    if len(systems) <= MOST_COMPARED:
        return {**bounded, "pairs": tables["pairs"]}
    first = set(systems[:MOST_COMPARED])
    among_first = [p for p in board["pairs"] if {p["better"], p["worse"]} <= first]
    top = (make_table or pairs)(among_first)
    top.notes.append(
        f"The {len(top.rows):,} pairs of the first {MOST_COMPARED} systems; tables/pairs.csv has all "
        f"{len(board['pairs']):,} pairs of the {len(systems):,} systems."
    )
    return {**bounded, "pairs": top}


def sentences(board: Mapping[str, Any]) -> list[str]:
    """Describe the ranking and its limits in sentences."""
    systems = list(board["systems"])
    first = board["systems"][systems[0]]
    low, high = board["scale"]
    lines = [
        f"{systems[0]} is the first of {len(systems)} systems, with a score of {shown(first['score'], 3)} on a scale "
        f"from {low:g} to {high:g}, over {counted(board['prompts'], 'prompt')}."
    ]
    untested = "No two systems have enough prompts in common to test their difference."
    return lines + difference_sentences(board, untested) + _cautions(board)


def difference_sentences(board: Mapping[str, Any], untested: str) -> list[str]:
    """State how many differences are significant, and `lead`; ``untested`` if no difference was tested."""
    tested = [pair for pair in board["pairs"] if pair["real"] is not None]
    if not tested:
        return [untested]
    real = sum(pair["real"] for pair in tested)
    return [
        f"{real} of {len(tested)} differences between two systems are significant (adjusted p at most "
        f"{1 - board['bootstrap']['level']:.2g}); the others may be chance.",
        lead(next(iter(board["systems"])), tested),
    ]


def lead(first: str, tested: Sequence[Mapping[str, Any]]) -> str:
    """State whether the first system differs significantly from the others."""
    pairs_of_first = [pair for pair in tested if first in (pair["better"], pair["worse"])]
    beaten = [pair["better"] for pair in pairs_of_first if pair["real"] and pair["worse"] == first]
    if beaten:
        return f"On the prompts that both have, {first} is significantly below {named(beaten)}."
    even = [
        pair["worse"] if pair["better"] == first else pair["better"]
        for pair in pairs_of_first
        if not pair["real"]
    ]
    if even:
        return f"{first} does not differ significantly from {named(even)}."
    return f"{first} is significantly ahead of every system that shares enough prompts with it."


def named(systems: Sequence[str]) -> str:
    """The names of the first `MOST_NAMED` systems, and the number of the others."""
    named = ", ".join(systems[:MOST_NAMED])
    more = len(systems) - MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


def _cautions(board: Mapping[str, Any]) -> list[str]:
    lines = []
    prompts = {system["prompts"] for system in board["systems"].values()}
    if prompts != {board["prompts"]}:
        lines.append(
            "Not every system has every prompt; pairs are compared on the prompts that both have."
        )
    agreement = board["people_order"]
    if agreement is not None:
        lines.append(
            f"The order of the systems by people's means agrees with the judge's: Kendall's tau {shown(agreement['kendall'])}."
        )
    else:
        lines.append(
            "This is the judge's order, not people's: the report of the judge's run shows how well the two agree."
        )
    reasons = {
        "clips_without_system": "they name no system",
        "clips_unscored": "not scored on every dimension",
    }
    return lines + left_out_sentences(board["left_out"], reasons, "clip")


def left_out_sentences(
    left_out: Mapping[str, int], reasons: Mapping[str, str], unit: str
) -> list[str]:
    """Count the clips or comparisons that a ranking leaves out, one sentence for each of ``reasons``."""
    return [
        f"Left out, because {reason}: {counted(left_out[key], unit)}."
        for key, reason in reasons.items()
        if left_out[key]
    ]


def ranking(board: Mapping[str, Any]) -> Table:
    """The systems from best to worst."""
    values: Columns = {
        Column("Score", help="mean over prompts of the mean over dimensions"): (
            lambda system: with_interval(system["score"], system["interval"], 3)
        )
    }
    if any(system["people"] is not None for system in board["systems"].values()):
        people = Column("People", help="the same mean of the mean ratings")
        values[people] = lambda system: number(system["people"], 3)
    counts: Columns = {
        Column(key.capitalize()): count_of(key) for key in ("prompts", "clips", "unscored")
    }
    return ranking_table(board, values, "systems that are below, by the adjusted p", counts)


def ranking_table(board: Mapping[str, Any], values: Columns, above: str, counts: Columns) -> Table:
    """The table of a ranking.

    Args:
        board: the ranking.
        values: the columns between rank and differences.
        above: explanation of the column with the systems that are significantly below.
        counts: the last columns.
    """
    worse: dict[str, list[str]] = {name: [] for name in board["systems"]}
    for pair in board["pairs"]:
        if pair["real"]:
            worse[pair["better"]].append(pair["worse"])
    columns: Columns = {
        Column("Rank"): count_of("rank"),
        Column("Rank interval", help="over the bootstrap draws"): _rank_interval,
        **values,
        Column("Significantly above", numeric=False, help=above): (
            lambda system: Cell(named(system["above"]) or "none")
        ),
        **counts,
    }
    rows = [(name, {**system, "above": worse[name]}) for name, system in board["systems"].items()]
    note = interval_note(board["bootstrap"], " of prompts", "too few prompts")
    return table_of("Ranking", "System", columns, rows, notes=[note])


def _rank_interval(system: Mapping[str, Any]) -> Cell:
    if system["ranks"] is None:
        return Cell(NOTHING, missing="too few prompts")
    low, high = system["ranks"]
    return Cell(f"{low:.0f}–{high:.0f}", sort=low)


def by_dimension(
    board: Mapping[str, Any],
    titles: Mapping[str, str],
    caption: str = "Mean score by dimension",
    missing: str = "not scored",
) -> Table:
    """The value of each system on each dimension: its mean expected score, or its rating from pairs."""
    systems = board["systems"]
    keys = list(dict.fromkeys(key for system in systems.values() for key in system["dimensions"]))
    columns = [Column("System", numeric=False), *(Column(titles.get(key, key)) for key in keys)]
    rows = [
        [Cell(name), *(number(system["dimensions"].get(key), missing=missing) for key in keys)]
        for name, system in systems.items()
    ]
    return Table(caption, columns, rows)


def pairs(compared: Sequence[Mapping[str, Any]]) -> Table:
    """The differences of pairs of systems in their mean scores."""
    return difference_table(
        compared, size=Column("Difference", help="on the prompts that both have"), digits=3,
        test="sign-flip test over prompts", why="too few prompts in common", no_size="no prompt in common",
        last={Column("Prompts"): count_of("prompts")},
    )  # fmt: skip


def difference_table(
    compared: Sequence[Mapping[str, Any]],
    *,
    size: Column,
    digits: int,
    test: str,
    why: str,
    no_size: str = "",
    last: Columns,
) -> Table:
    """The table of pairs of systems.

    Args:
        compared: the pairs of a ranking.
        size: column of the differences.
        digits: digits of a difference after the point.
        test: name of the test of p.
        why: why a pair has no p.
        no_size: why a pair has no difference.
        last: the last columns.
    """

    def difference(pair: Mapping[str, Any]) -> Cell:
        bounds = pair["interval"]
        return with_interval(pair["difference"], bounds, digits, sign=True, missing=no_size)

    columns: Columns = {
        Column("Worse", numeric=False): lambda pair: Cell(pair["worse"]),
        size: difference,
        Column("p", help=test): lambda pair: number(pair["p"], 4, missing=why),
        Column("Adjusted p", help="Benjamini & Yekutieli over all pairs"): (
            lambda pair: number(pair["p_adjusted"], 4, missing=why)
        ),
        Column("Significant", numeric=False): lambda pair: yes_or_no(pair["real"], why),
        **last,
    }
    return table_of("Differences", "Better", columns, ((pair["better"], pair) for pair in compared))


def board_forest(board: Mapping[str, Any]) -> Markup:
    """A figure of the scores with intervals."""
    systems = dict(islice(board["systems"].items(), plots.MOST_ROWS))
    marks = [plots.Interval(system["score"], system["interval"]) for system in systems.values()]
    looks = {"score": (plots.JUDGE, "o")}
    label = "Score of each system with its interval; the table below holds the same figures."
    return plots.forest("board", label, list(systems), {"score": marks}, looks, "score", zero=False)
