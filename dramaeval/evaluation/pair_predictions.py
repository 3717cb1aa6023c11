"""A judge's comparison of two clips on one dimension, with the raters' votes; stored as JSONL."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

from dramaeval.data.raters import POSITIONAL, RaterInfo
from dramaeval.evaluation.json_values import (
    finite_number,
    kind_of,
    numbers_of,
    optional_numbers_of,
    optional_text_of,
    plain_values,
    text_of,
)
from dramaeval.evaluation.predictions import read_prediction_lines

Outcomes = tuple[float, float, float]
"""The probabilities of "clip a is better", "tie" and "clip b is better"; they sum to 1."""

TOLERANCE = 1e-3
"""Largest rounding error of a sum of probabilities, as in `Prediction`."""


@dataclass(frozen=True, kw_only=True)
class PairPrediction:
    """One line of `predictions.jsonl` about pairs: a pair × a dimension.

    Attributes:
        id: id of the pair's record.
        dimension: key of the dimension.
        p_a: probability that clip a is better than clip b.
        p_tie: probability that neither is better.
        p_b: probability that clip b is better; the three sum to 1.
        votes: one vote per rater, from +1 (a is better) over 0 (tie) to −1 (b is better); a graded vote −2…2 is
            halved; None if it is missing.
        raters: who gave the votes.
        prompt: the bootstrap draws the pairs of one prompt together; None makes the pair a cluster of its own.
        system_a: the speaker or synthesiser of clip a.
        system_b: the speaker or synthesiser of clip b.
        margin: expected score of a minus expected score of b; None if the judge does not score single clips.
        language: language of the clips.
        order_ab: the outcomes from the prompt that presents clip a first; None if the clips are not in one prompt.
        order_ba: the outcomes from the prompt that presents clip b first; here too, the first value is for clip a.
        clip_a: path of clip a.
        clip_b: path of clip b.
        mean_vote: mean of the votes that are not missing; None without votes.

    Raises:
        ValueError: the values contradict each other; the message names the field.
    """

    id: str
    dimension: str
    p_a: float
    p_tie: float
    p_b: float
    votes: tuple[float | None, ...]
    raters: RaterInfo = POSITIONAL
    prompt: str | None = None
    system_a: str | None = None
    system_b: str | None = None
    margin: float | None = None
    language: str | None = None
    order_ab: Outcomes | None = None
    order_ba: Outcomes | None = None
    clip_a: str
    clip_b: str
    mean_vote: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_outcomes(self.outcomes, "p_a, p_tie, p_b")
        present = [vote for vote in self.votes if vote is not None]
        wrong = [vote for vote in present if not -1 <= vote <= 1]
        if wrong:
            raise ValueError(
                f"votes hold {wrong[0]}; they go from -1 (b is better) to 1 (a is better)"
            )
        names = self.raters.ids
        if names is not None and len(names) != len(self.votes):
            raise ValueError(f"raters has {len(names)} names for {len(self.votes)} votes")
        if self.margin is not None and not math.isfinite(self.margin):
            raise ValueError(f"margin is {self.margin}, not a finite number")
        if self.clip_a == self.clip_b:
            raise ValueError(f"clip_a and clip_b are the same file, {self.clip_a}")
        self._check_orders()
        mean = math.fsum(present) / len(present) if present else None
        object.__setattr__(self, "mean_vote", mean)

    def _check_orders(self) -> None:
        orders = (self.order_ab, self.order_ba)
        if orders == (None, None):
            return
        if self.order_ab is None or self.order_ba is None:
            raise ValueError("order_ab and order_ba need each other: give both or none")
        _check_outcomes(self.order_ab, "order_ab")
        _check_outcomes(self.order_ba, "order_ba")
        means = [(ab + ba) / 2 for ab, ba in zip(self.order_ab, self.order_ba, strict=True)]
        if any(abs(m - p) > TOLERANCE for m, p in zip(means, self.outcomes, strict=True)):
            raise ValueError(
                "p_a, p_tie, p_b are "
                + ", ".join(f"{p:.6g}" for p in self.outcomes)
                + ", but the means of the two orders are "
                + ", ".join(f"{m:.6g}" for m in means)
            )

    @property
    def outcomes(self) -> Outcomes:
        """`(p_a, p_tie, p_b)`."""
        return self.p_a, self.p_tie, self.p_b

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object, always with the same keys in the same order."""
        values = plain_values(self) | {"raters": self.raters.to_json()}
        del values["mean_vote"]
        return values

    @classmethod
    def from_json(cls, values: Any) -> PairPrediction:
        """Make a prediction from the result of `to_json`; further keys are ignored.

        Raises:
            ValueError: a key is missing or of the wrong type, or the values contradict each other.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a prediction is a JSON object, not {kind_of(values)}")
        votes = optional_numbers_of(values, "votes")
        return cls(
            id=text_of(values, "id"),
            dimension=text_of(values, "dimension"),
            p_a=_probability(values, "p_a"),
            p_tie=_probability(values, "p_tie"),
            p_b=_probability(values, "p_b"),
            votes=votes,
            raters=RaterInfo.from_json(values.get("raters"), len(votes)),
            prompt=optional_text_of(values, "prompt"),
            system_a=optional_text_of(values, "system_a"),
            system_b=optional_text_of(values, "system_b"),
            margin=finite_number(values.get("margin"), "margin"),
            language=optional_text_of(values, "language"),
            order_ab=_order(values, "order_ab"),
            order_ba=_order(values, "order_ba"),
            clip_a=text_of(values, "clip_a"),
            clip_b=text_of(values, "clip_b"),
        )


def is_pair_line(values: Any) -> bool:
    """Whether a JSON line of a predictions file is about a pair."""
    return isinstance(values, dict) and "p_a" in values


def read_pair_predictions(path: str | os.PathLike[str]) -> list[PairPrediction]:
    """Read a file with predictions about pairs, in the order of its lines.

    Raises:
        PredictionsError: it names every bad line, see `read_predictions`.
        OSError: the file cannot be opened.
    """
    return read_prediction_lines(path, PairPrediction.from_json)


def _check_outcomes(outcomes: tuple[float, ...], name: str) -> None:
    if len(outcomes) != 3:
        raise ValueError(f"{name} has {len(outcomes)} values, not 3: a is better, tie, b is better")
    total = math.fsum(outcomes)
    if not min(outcomes) >= 0 or math.isnan(total):
        raise ValueError(f"{name}: a probability is negative or undefined")
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"{name} sum to {total:.6g}, not to 1")


def _probability(values: dict[str, Any], key: str) -> float:
    number = finite_number(values.get(key), key)
    if number is None:
        raise ValueError(f"'{key}' must be a number, not {'null' if key in values else 'absent'}")
    return number


def _order(values: dict[str, Any], key: str) -> Outcomes | None:
    if values.get(key) is None:
        return None
    numbers = numbers_of(values, key)
    _check_outcomes(numbers, key)
    a, tie, b = numbers
    return a, tie, b
