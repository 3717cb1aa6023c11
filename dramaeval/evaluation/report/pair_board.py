"""The tables and sentences of a ranking of systems by pairs, for the leaderboard and the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from markupsafe import Markup

from dramaeval.data.problems import counted
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.about_board import AboutBoard
from dramaeval.evaluation.report.leaderboard_page import (
    by_dimension,
    difference_sentences,
    difference_table,
    left_out_sentences,
    rank_interval,
    render_ranking,
    significantly_above,
    with_column,
)
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Table,
    count,
    interval_note,
    number,
    shown,
    with_interval,
    yes_or_no,
)


def render_pair_board(
    board: Mapping[str, Any],
    tables: Mapping[str, Table],
    name: str,
    facts: Sequence[str],
    config: str,
    about: AboutBoard | None = None,
) -> str:
    """Render the page (see `leaderboard_page.render_board`); ``board`` is the result of `rank_pairs`."""
    return render_ranking(
        board, tables, name, facts, config, about, sentences=board_sentences(board),
        forest=board_forest(board), caption="Bradley-Terry rating with its interval.",
    )  # fmt: skip


def board_sentences(board: Mapping[str, Any]) -> list[str]:
    """Describe the ranking and its limits in sentences."""
    systems = list(board["systems"])
    first = board["systems"][systems[0]]
    lines = [
        f"{systems[0]} is the first of {len(systems)} systems, with a Bradley-Terry rating of {shown(first['rating'])} "
        f"logits, over {counted(board['comparisons'], 'comparison')} on {counted(board['prompts'], 'prompt')}."
    ]
    lines += difference_sentences(board, "There are too few prompts to test the differences.")
    lines.append(_order("the raters' votes", board["people_order"]))
    lines.append(_order("the scores of single clips", board["score_order"]))
    return lines + _limits(board)


def _order(what: str, agreement: Mapping[str, Any]) -> str:
    if "undefined" in agreement:
        return f"There is no comparison with the ranking by {what}: {agreement['undefined']}."
    return (
        f"Its agreement with the ranking by {what}: Kendall's tau {shown(agreement['kendall'])}, Spearman's rho "
        f"{shown(agreement['spearman'])}."
    )


def _limits(board: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, whose in (("half_wins", "the judge"), ("people_half_wins", "the raters")):
        if board[key]:
            lines.append(
                f"By {whose} some systems win or lose every comparison, so that no finite rating is the most likely: half a "
                "win is added to both sides of each compared pair of systems."
            )
    reasons = {
        "without_two_systems": "a clip names no system",
        "same_system": "both clips are of one system",
    }
    return lines + left_out_sentences(board["left_out"], reasons, "comparison")


def board_tables(board: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Table]:
    """All tables by key, with all rows."""
    return {
        "ranking": ranking(board),
        "dimensions": by_dimension(board, titles, "Rating by dimension", "not ranked"),
        "pairs": differences(board["pairs"]),
    }


def ranking(board: Mapping[str, Any]) -> Table:
    """The systems from best to worst."""
    systems = board["systems"]
    voted = any(system["people"] is not None for system in systems.values())
    scored = any(system["score"] is not None for system in systems.values())
    columns = [
        Column("System", numeric=False),
        Column("Rank"),
        Column("Rank interval", help="over the bootstrap draws"),
        Column(
            "Rating",
            help="Bradley-Terry rating with ties (Davidson), in logits; the mean of all systems is 0",
        ),
        *([Column("People", help="the same rating by the raters' votes")] if voted else []),
        *(
            [Column("Score", help="by the expected scores of single clips; mean 0")]
            if scored
            else []
        ),
        Column("Significantly above", numeric=False, help="systems below it, by the adjusted p"),
        Column("Comparisons"),
        Column("Prompts"),
    ]
    above = significantly_above(board)
    rows = [
        [
            Cell(name),
            count(system["rank"]),
            rank_interval(system["ranks"]),
            with_interval(system["rating"], system["interval"]),
            *([with_interval(system["people"], system["people_interval"])] if voted else []),
            *([number(system["score"], 3)] if scored else []),
            above[name],
            count(system["comparisons"]),
            count(system["prompts"]),
        ]
        for name, system in systems.items()
    ]
    note = interval_note(board["bootstrap"], " of prompts", "too few prompts")
    return Table("Ranking", columns, rows, notes=[note])


def differences(compared: Sequence[Mapping[str, Any]]) -> Table:
    """The differences of pairs of systems in their ratings."""
    table = difference_table(
        compared, size=Column("Difference", help="of the ratings, in logits"), digits=2,
        test="two-sided, over the bootstrap draws", why="too few prompts",
    )  # fmt: skip
    column = Column("Compared", numeric=False, help="whether a pair has clips of both")
    return with_column(table, column, [yes_or_no(pair["compared"], "") for pair in compared])


def board_forest(board: Mapping[str, Any]) -> Markup:
    """A figure of the ratings with intervals, by the judge and by the raters."""
    systems = dict(islice(board["systems"].items(), plots.MOST_ROWS))
    marks = {"judge": [plots.Interval(s["rating"], s["interval"]) for s in systems.values()]}
    if any(system["people"] is not None for system in systems.values()):
        marks["raters"] = [
            plots.Interval(s["people"], s["people_interval"]) for s in systems.values()
        ]
    looks = {"judge": (plots.JUDGE, "o"), "raters": (plots.PEOPLE, "s")}
    label = "Rating of each system with its interval; the table below holds the same figures."
    return plots.forest("board", label, list(systems), marks, looks, "rating (logits)")
