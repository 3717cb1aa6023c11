"""Durations in messages have enough digits to differ from the limit that is named with them."""

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
def test_a_shown_value_differs_from_the_shown_limit(
    seconds: float, limit: float, text: str
) -> None:
    assert beside(seconds, limit) == text


def test_the_message_of_a_too_long_or_too_short_clip_has_its_length() -> None:
    problems = [length_problem("a", seconds, 30.0) for seconds in (30.001, 0.03999, 30.0)]
    assert [problem and problem[0] for problem in problems] == [
        "a lasts 30.001 s, more than 30 s",
        "a lasts 0.03999 s, too short to be judged",
        None,
    ]
