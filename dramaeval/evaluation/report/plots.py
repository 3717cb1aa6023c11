"""Draws the figures of the reports: matplotlib figures as SVG elements inside the page.

The colours of Okabe and Ito can be distinguished with any common colour blindness. Series also
differ in marker or hatch.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dramaeval.data.problems import counted, one_line
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.calibration import CalibrationBin, calibration_curve, rater_shares
from dramaeval.evaluation.report.svg import embedded

JUDGE, BEFORE, PEOPLE, CEILING = "#0072B2", "#767676", "#B34700", "#00724E"
INK, GRID = "#1b1f24", "#d0d4d9"
RASTER_FROM = 500
"""Number of points from which on a scatter plot is rasterised, to keep the page small."""
MOST_ROWS = 60
"""Maximum number of rows of a forest plot; the table below it has all rows."""
MOST_LETTERS = 32
"""Maximum length of a row's label; the table has the full title."""
MOST_SERIES_LETTERS = 20
"""Maximum length of a label in the legend."""

_PANEL: dict[str, Any] = {"size": (2.3, 2.2), "margins": (0.21, 0.19, 0.97, 0.89)}
"""Size and margins of the figures of one dimension; their labels have about the same size."""

_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable and scalable
    "svg.image_inline": True,
    "text.parse_math": False,  # a title may contain dollar signs
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a9099",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 130,
}


@dataclass(frozen=True)
class Interval:
    """One mark of a forest plot: a value with its interval; both may be missing."""

    value: float | None
    bounds: Sequence[float] | None = None


def limit_note(count: int, most: int, items: str) -> str:
    """A note that a figure shows only the first items; empty if it shows all items."""
    return f" The first {most:,} of {count:,} {items}." if count > most else ""


def drawn(
    name: str,
    label: str,
    draw: Callable[[Any], None],
    *,
    size: tuple[float, float],
    margins: tuple[float, float, float, float] | None = None,
) -> Markup:
    """Draw one figure and return its SVG element.

    Args:
        name: a name that is unique on the page, of letters, digits and hyphens; the prefix of all ids in the figure.
        label: description for screen readers.
        draw: draws on axes.
        size: width and height in inches.
        margins: left, bottom, right and top edge of the axes as shares of the size. None measures all labels to
            find their room, which takes longer than the drawing itself.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout=None if margins else "constrained")
        if margins:
            figure.subplots_adjust(*margins)
        draw(figure.add_subplot())
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    return embedded(text.getvalue(), name, label)


def forest(
    name: str,
    label: str,
    rows: Sequence[str],
    marks: Mapping[str, Sequence[Interval]],
    looks: Mapping[str, tuple[str, str]],
    xlabel: str,
    *,
    zero: bool = True,
) -> Markup:
    """Draw a forest plot: one value with its interval for each row and series.

    Args:
        name: see `drawn`.
        label: see `drawn`.
        rows: labels from top to bottom.
        marks: one mark per row, by series.
        looks: colour and marker of each series.
        xlabel: label of the axis.
        zero: whether to draw the line at zero.
    """

    def draw(axes: Any) -> None:
        positions = np.arange(len(rows))
        shifts = np.linspace(-0.2, 0.2, len(marks)) if len(marks) > 1 else [0.0]
        for shift, (series, values) in zip(shifts, marks.items(), strict=True):
            colour, marker = looks[series]
            known = [row for row, mark in enumerate(values) if mark.value is not None]
            bounds = [values[row].bounds or (math.nan, math.nan) for row in known]
            lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
            heights = positions[known] + shift
            size, edge = (10, 2) if marker == "|" else (5, 1)
            axes.hlines(heights, lows, highs, color=colour, linewidth=1.6)
            axes.plot(
                [values[row].value for row in known],
                heights,
                marker,
                color=colour,
                markersize=size,
                markeredgewidth=edge,
                linestyle="none",
                label=_series_label(series),
            )
        if zero:
            axes.axvline(0, color="#8a9099", linewidth=0.8, zorder=0)
        axes.set_yticks(positions, [one_line(row, MOST_LETTERS) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(xlabel)
        if len(marks) > 1:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1), ncols=_columns(list(marks)), borderaxespad=0.2,
                columnspacing=1.2, handletextpad=0.4,
            )  # fmt: skip

    height = 0.75 + 0.34 * len(rows) * (1 if len(marks) < 3 else 1.15)
    return drawn(name, label, draw, size=(4.6, height))


def _columns(series: Sequence[str]) -> int:
    """Number of columns of the legend of a forest plot, at about 5 points per letter."""
    longest = max(len(_series_label(name)) for name in series)
    return max(1, min(len(series), int(331 / (40 + 5 * longest))))


def _series_label(text: str) -> str:
    # matplotlib omits labels that begin with an underscore from the legend.
    label = one_line(text, MOST_SERIES_LETTERS)
    return f" {label}" if label.startswith("_") else label


def scatter(name: str, title: str, arrays: DimensionArrays) -> Markup:
    """Draw the expected score of every record against the mean rating."""

    def draw(axes: Any) -> None:
        low, high = arrays.scale[0], arrays.scale[-1]
        room = 0.06 * (high - low)
        axes.plot([low, high], [low, high], color="#8a9099", linewidth=0.8, linestyle="--")
        look = {"color": JUDGE, "alpha": 0.45, "markersize": 3, "markeredgewidth": 0}
        rasterized = arrays.n >= RASTER_FROM
        axes.plot(arrays.rated, arrays.predicted, "o", **look, rasterized=rasterized)
        limits, ticks = (low - room, high + room), _ticks(arrays.scale)
        axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks, aspect="equal")
        axes.set(xlabel="people (mean)", ylabel="judge (expected)")

    label = f"{title}: expected score of the judge against the mean rating, {counted(arrays.n, 'clip')}."
    return drawn(name, label, draw, **_PANEL)


def _ticks(scale: np.ndarray) -> np.ndarray:
    """The scores that the axis labels: at most six, so that the labels do not touch."""
    return scale[:: -(-len(scale) // 6)]


def distributions(name: str, title: str, arrays: DimensionArrays) -> Markup:
    """Draw the share of the ratings at each score, and the judge's mean probability of the score."""
    rows = ~np.isnan(arrays.distribution).any(axis=1)
    judge = arrays.distribution[rows].mean(axis=0) if rows.any() else None
    rated = ~np.isnan(arrays.ratings).all(axis=1)
    shares = rater_shares(arrays.ratings[rated], arrays.scale)
    people = shares.mean(axis=0) if rated.any() else None  # None: only mean ratings are known

    def draw(axes: Any) -> None:
        width = 0.4 * float(np.diff(arrays.scale).min())
        if people is not None:
            axes.bar(
                arrays.scale - width / 2, people, width, color="white", edgecolor=PEOPLE, hatch="////",
                linewidth=0.8, label="people",
            )  # fmt: skip
        if judge is not None:
            axes.bar(arrays.scale + width / 2, judge, width, color=JUDGE, label="judge")
        axes.set(xticks=_ticks(arrays.scale), xlabel="score", ylabel="share (%)")
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=""))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)

    named, listed = ("judge", judge) if people is None else ("people", people)
    shown = zip(arrays.scale, () if listed is None else listed, strict=False)
    stated = [f"{k:g}: {named} {p:.0%}" for k, p in shown]
    return drawn(name, f"{title}: shares of scores. {', '.join(stated)}.", draw, **_PANEL)


def calibration(name: str, title: str, arrays: DimensionArrays) -> Markup | None:
    """Draw the calibration curve: share of ratings against stated probability; None without distributions."""
    return calibration_of(name, title, calibration_curve(arrays), "share of ratings")


def calibration_of(
    name: str, title: str, curve: Sequence[CalibrationBin], ylabel: str
) -> Markup | None:
    """Draw the bins of a calibration curve; None without bins."""
    if not curve:
        return None

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="#8a9099", linewidth=0.8, linestyle="--")
        most = max(point.n for point in curve)
        stated = [point.stated for point in curve]
        shares = [point.share for point in curve]
        axes.plot(stated, shares, color=JUDGE)
        axes.scatter(stated, shares, s=[12 + 60 * point.n / most for point in curve], color=JUDGE)
        ticks = [0, 0.5, 1]
        axes.set(
            xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xticks=ticks, yticks=ticks, aspect="equal",
            xlabel="stated probability", ylabel=ylabel,
        )  # fmt: skip

    points = ", ".join(f"{point.stated:.2f} stated, {point.share:.2f} observed" for point in curve)
    return drawn(name, f"{title}: calibration. {points}.", draw, **_PANEL)


def curve(
    name: str, title: str, series: Mapping[str, Sequence[tuple[int, float]]], ylabel: str
) -> Markup:
    """Draw values over the training steps."""

    def draw(axes: Any) -> None:
        looks = [(JUDGE, "-", ""), (PEOPLE, "--", "o")]
        for (label, points), (colour, line, marker) in zip(series.items(), looks, strict=False):
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, line, color=colour, marker=marker, markersize=3.5, label=label)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set(xlabel="step", ylabel=ylabel)
        if len(series) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)

    ends = [f"{label} ends at {points[-1][1]:.3g}" for label, points in series.items()]
    return drawn(name, f"{title}: {', '.join(ends)}.", draw, size=(2.9, 2.1))
