"""Durations in messages."""

from __future__ import annotations

import pytest

from dramaeval.data.durations import beside, length_problem


@pytest.mark.parametrize(
    ("seconds", "limit", "text"),
    [
        (31.5, 30.0, "31.5"), (30.001, 30.0, "30.001"), (30 + 1 / 16_000, 30.0, "30.0001"), (0.0399, 0.04, "0.0399"),
        (0.03996, 0.04, "0.03996"), (95.12, 30.0, "95.1"), (0.1 + 0.2, 0.3, "0.30000000000000004"),
    ],
)  # fmt: skip
def test_a_value_differs_from_the_limit_beside_it(seconds: float, limit: float, text: str) -> None:
    assert beside(seconds, limit) == text


def test_lengths_of_clips_beside_their_limits() -> None:
    problems = [length_problem("a", seconds, 30.0) for seconds in (30.001, 0.03999, 30.0)]
    assert [problem and problem[0] for problem in problems] == [
        "a lasts 30.001 s, more than 30 s",
        "a lasts 0.03999 s, too short to be judged",
        None,
    ]
