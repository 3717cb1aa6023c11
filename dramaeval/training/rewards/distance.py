"""A reward by the distance of a score from the mean rating."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion, FieldAnswer


class Distance:
    """1 − |k − mean rating| / range for a score k; an unreadable answer earns 0 (graded rewards: arXiv 2603.10175).

    Args:
        squared: whether the reward is 1 − ((k − mean rating) / range)², whose expectation is highest at the mean.
    """

    needs_order = True
    needs_ratings = True

    def __init__(self, squared: bool = False) -> None:
        self.squared = squared

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, from 0 to 1: the mean over the fields of its answer."""
        return [completion.mean(self._value) for completion in completions]

    def _value(self, answer: FieldAnswer) -> float:
        if answer.score is None:
            return 0.0
        distance = abs(answer.score - answer.mean_rating) / (answer.scale[-1] - answer.scale[0])
        return 1 - (distance**2 if self.squared else distance)
