"""The share of raters who agree with an answer."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.tasks.labels import between
from dramaeval.training.rewards.completion import Completion, FieldAnswer


class Agreement:
    """The share of raters who gave the written score; an unreadable answer earns 0.

    A rating between two points of the scale counts partly for both, as in the targets (see `between`). If only the
    mean rating is known, the reward is the probability of the score in the distribution with this mean.
    """

    needs_ratings = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, from 0 to 1: the mean over the fields of its answer."""
        return [completion.mean(self._value) for completion in completions]

    @staticmethod
    def _value(answer: FieldAnswer) -> float:
        if answer.choice is None:
            return 0.0
        if answer.shares is not None:
            return answer.shares[answer.choice]
        # The ratings of options are their numbers from 0, as the scale is.
        shares = [between(rating, answer.scale)[answer.choice] for rating in answer.ratings]
        return float(sum(shares)) / len(shares)
