"""The tables and sentences of a ranking of systems by pairs, for the leaderboard and the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from markupsafe import Markup

from dramaeval.data.problems import counted
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.leaderboard_page import (
    by_dimension,
    difference_sentences,
    difference_table,
    left_out_sentences,
    ranking_table,
)
from dramaeval.evaluation.report.tables import (
    Column,
    Columns,
    Table,
    count_of,
    number,
    shown,
    with_interval,
    yes_or_no,
)

CAPTION = "Bradley-Terry rating with its interval."
"""Caption of `board_forest`."""


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


def _order(what: str, agreement: Mapping[str, Any]) -> str:
    if "undefined" in agreement:
        return f"There is no comparison with the ranking by {what}: {agreement['undefined']}."
    return (
        f"Its agreement with the ranking by {what}: Kendall's tau {shown(agreement['kendall'])}, Spearman's rho "
        f"{shown(agreement['spearman'])}."
    )


def board_tables(board: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Table]:
    """All tables by key, with all rows."""
    return {
        "ranking": ranking(board),
        "dimensions": by_dimension(board, titles, "Rating by dimension", "not ranked"),
        "pairs": differences(board["pairs"]),
    }


def ranking(board: Mapping[str, Any]) -> Table:
    """The systems from best to worst."""
    values: Columns = {
        Column(
            "Rating",
            help="Bradley-Terry rating with ties (Davidson), in logits; the mean of all systems is 0",
        ): lambda system: with_interval(system["rating"], system["interval"])
    }
    systems = board["systems"].values()
    if any(system["people"] is not None for system in systems):
        people = Column("People", help="the same rating by the raters' votes")
        values[people] = lambda system: with_interval(system["people"], system["people_interval"])
    if any(system["score"] is not None for system in systems):
        score = Column("Score", help="by the expected scores of single clips; mean 0")
        values[score] = lambda system: number(system["score"], 3)
    counts: Columns = {
        Column(key.capitalize()): count_of(key) for key in ("comparisons", "prompts")
    }
    return ranking_table(board, values, "systems below it, by the adjusted p", counts)


def differences(compared: Sequence[Mapping[str, Any]]) -> Table:
    """The differences of pairs of systems in their ratings."""
    both = Column("Compared", numeric=False, help="whether a pair has clips of both")
    return difference_table(
        compared, size=Column("Difference", help="of the ratings, in logits"), digits=2,
        test="two-sided, over the bootstrap draws", why="too few prompts",
        last={both: lambda pair: yes_or_no(pair["compared"], "")},
    )  # fmt: skip


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
