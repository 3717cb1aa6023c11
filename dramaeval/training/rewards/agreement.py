"""How many raters gave the score: a reward that knows their spread."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion, Given, over_places


class Agreement:
    """The share of raters who gave the score that was written; an unreadable answer earns 0."""

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the places of an answer."""
        return [over_places(one, self._value) for one in completions]

    @staticmethod
    def _value(given: Given) -> float:
        if given.choice is None:
            return 0.0
        # Options are numbered from 0 in the ratings, as in the scale.
        return given.ratings.count(float(given.scale[given.choice])) / len(given.ratings)
