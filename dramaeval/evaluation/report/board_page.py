"""The page of a leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.about import templates
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Table,
    count,
    number,
    shown,
    with_interval,
)


def render_board(
    board: Mapping[str, Any],
    titles: Mapping[str, str],
    name: str,
    facts: Sequence[str],
    config: str,
) -> str:
    """The page, self-contained."""
    context = {
        "title": f"{name}: leaderboard",
        "kind": "dramaeval leaderboard",
        "heading": name,
        "facts": facts,
        "contents": [
            ("summary", "Summary"),
            ("ranking", "Ranking"),
            ("pairs", "Differences"),
            ("run", "Run"),
        ],
        "summary": sentences(board),
        "forest": Markup(_forest(board)),
        "tables": [ranking(board), by_dimension(board, titles)],
        "pairs": pairs(board),
        "config": config,
    }
    return templates().get_template("board.html.j2").render(context)


def sentences(board: Mapping[str, Any]) -> list[str]:
    """What the ranking says, and what it does not."""
    systems = list(board["systems"])
    first = board["systems"][systems[0]]
    low, high = board["scale"]
    told = [
        f"{systems[0]} comes first of {len(systems)} systems with {shown(first['score'], 3)} on a scale of "
        f"{low:g} to {high:g}, over {board['prompts']:,} prompts."
    ]
    tested = [pair for pair in board["pairs"] if pair["real"] is not None]
    if not tested:
        told.append(
            "No two systems have enough prompts in common to say which differences are real."
        )
    else:
        real = [pair for pair in tested if pair["real"]]
        told.append(
            f"{len(real)} of {len(tested)} differences between two systems are real (adjusted p at most "
            f"{1 - board['bootstrap']['level']:.2g}); the others may be chance."
        )
        told.append(_lead(systems[0], tested))
    told += _cautions(board)
    return told


def _lead(first: str, tested: Sequence[Mapping[str, Any]]) -> str:
    """How sure the first place is."""
    own = [pair for pair in tested if first in (pair["better"], pair["worse"])]
    beaten = [pair["better"] for pair in own if pair["real"] and pair["worse"] == first]
    if beaten:
        return f"On the prompts that both have, {first} is really below {', '.join(beaten)}."
    even = [
        pair["worse"] if pair["better"] == first else pair["better"]
        for pair in own
        if not pair["real"]
    ]
    if even:
        return f"{first} cannot be told apart from {', '.join(even)}."
    return f"{first} is really ahead of every system that it can be compared with."


def _cautions(board: Mapping[str, Any]) -> list[str]:
    told = []
    prompts = {one["prompts"] for one in board["systems"].values()}
    if prompts != {board["prompts"]}:
        told.append(
            "Not every system has every prompt; pairs are compared on the prompts that both have."
        )
    agreement = board["people_order"]
    if agreement is not None:
        told.append(
            f"People's means order the systems with Kendall's tau {shown(agreement['kendall'])} to the judge's."
        )
    else:
        told.append(
            "This is the judge's order, not people's: see its own report for how well the two agree."
        )
    left = board["left_out"]
    if left["clips_without_system"]:
        told.append(f"{left['clips_without_system']:,} clips name no system and are left out.")
    if left["clips_unscored"]:
        told.append(
            f"{left['clips_unscored']:,} clips were not scored on every dimension and are left out."
        )
    return told


def ranking(board: Mapping[str, Any]) -> Table:
    """Systems from best to worst."""
    rated = any(one["people"] is not None for one in board["systems"].values())
    columns = [
        Column("System", numeric=False),
        Column("Rank"),
        Column("Ranks", help="interval of the rank over the draws"),
        Column("Score", help="mean over prompts of the mean over dimensions"),
        *([Column("People", help="the same from mean ratings")] if rated else []),
        Column("Really above", numeric=False, help="systems with an adjusted p for being below"),
        Column("Prompts"),
        Column("Clips"),
        Column("Unscored"),
    ]
    rows = []
    for name, one in board["systems"].items():
        above = [p["worse"] for p in board["pairs"] if p["better"] == name and p["real"]]
        span = "–" if one["ranks"] is None else "{:.0f}–{:.0f}".format(*one["ranks"])
        rows.append(
            [
                Cell(name),
                count(one["rank"]),
                Cell(span, sort=None if one["ranks"] is None else one["ranks"][0],
                     missing="too few prompts" if one["ranks"] is None else ""),
                with_interval(one["score"], one["interval"], 3),
                *([number(one["people"], 3)] if rated else []),
                Cell(", ".join(above) or "none"),
                count(one["prompts"]),
                count(one["clips"]),
                count(one["unscored"]),
            ]
        )  # fmt: skip
    level, draws = board["bootstrap"]["level"], board["bootstrap"]["draws"]
    note = f"In brackets: {level:.0%} intervals of {draws:,} bootstrap draws over whole prompts."
    return Table(
        "Ranking", columns, rows, notes=[note] if draws else ["No intervals: too few prompts."]
    )


def by_dimension(board: Mapping[str, Any], titles: Mapping[str, str]) -> Table:
    """Mean expected score of each system on each dimension."""
    keys = list(
        dict.fromkeys(key for one in board["systems"].values() for key in one["dimensions"])
    )
    columns = [Column("System", numeric=False), *(Column(titles.get(key, key)) for key in keys)]
    rows = [
        [Cell(name), *(number(one["dimensions"].get(key), missing="not scored") for key in keys)]
        for name, one in board["systems"].items()
    ]
    return Table("Mean score by dimension", columns, rows)


def pairs(board: Mapping[str, Any]) -> Table:
    """Every pair of systems."""
    columns = [
        Column("Better", numeric=False),
        Column("Worse", numeric=False),
        Column("Difference", help="on the prompts that both have"),
        Column("p", help="sign-flip test over prompts"),
        Column("Adjusted p", help="Benjamini & Yekutieli over all pairs"),
        Column("Real", numeric=False),
        Column("Prompts"),
    ]
    why = "too few prompts in common"
    rows = [
        [
            Cell(one["better"]),
            Cell(one["worse"]),
            with_interval(
                one["difference"], one["interval"], 3, sign=True, missing="no prompt in common"
            ),
            number(one["p"], 4, missing=why),
            number(one["p_adjusted"], 4, missing=why),
            _yes_or_no(one["real"], why),
            count(one["prompts"]),
        ]
        for one in board["pairs"]
    ]
    return Table("Differences", columns, rows)


def _yes_or_no(real: bool | None, why: str) -> Cell:
    return Cell("–", missing=why) if real is None else Cell("yes" if real else "no")


def _forest(board: Mapping[str, Any]) -> str:
    marks = [plots.Interval(one["score"], one["interval"]) for one in board["systems"].values()]
    looks = {"score": (plots.JUDGE, "o")}
    label = "Score of each system with its interval; the table below holds the same figures."
    return plots.forest(
        "board", label, list(board["systems"]), {"score": marks}, looks, "score", zero=False
    )
