"""The distance of a score from the raters' mean: a graded reward, unlike `exact`."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion, FieldAnswer


class Distance:
    """1 − |k − mean rating| / range, or with its square; an unreadable answer earns 0.

    Graded rewards for scoring: arXiv 2603.10175.

    Args:
        squared: 1 − ((k − mean rating) / range)². The answer with the highest expected reward is then the mean.
    """

    needs_order = True
    needs_ratings = True

    def __init__(self, squared: bool = False) -> None:
        self.squared = squared

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the fields of an answer."""
        return [completion.mean(self._value) for completion in completions]

    def _value(self, answer: FieldAnswer) -> float:
        if answer.score is None:
            return 0.0
        distance = abs(answer.score - answer.mean_rating) / (answer.scale[-1] - answer.scale[0])
        return 1 - (distance**2 if self.squared else distance)
