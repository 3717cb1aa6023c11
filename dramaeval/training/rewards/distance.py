"""How near the score is to the raters' mean: a graded reward, unlike `exact`."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion, Given, over_places


class Distance:
    """1 − |k − mean rating| / range, or with its square; an unreadable answer earns 0.

    Graded rewards for scoring: arXiv 2603.10175.

    Args:
        squared: 1 − ((k − mean rating) / range)², whose best answer in expectation is the mean itself.
    """

    needs_order = True

    def __init__(self, squared: bool = False) -> None:
        self.squared = squared

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the places of an answer."""
        return [over_places(one, self._value) for one in completions]

    def _value(self, given: Given) -> float:
        if given.score is None:
            return 0.0
        away = abs(given.score - given.mean_rating) / (given.scale[-1] - given.scale[0])
        return 1 - (away**2 if self.squared else away)
