"""The share of raters who agree with an answer."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.tasks.labels import between
from dramaeval.training.rewards.completion import Completion, FieldAnswer


class Agreement:
    """The share of raters who gave the written score; an unreadable answer earns 0.

    A rating between two points of the scale counts for both in part, as in the targets (see `between`). Where only the
    mean rating is known: the score's probability in the distribution with that mean.
    """

    needs_ratings = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the fields of an answer."""
        return [completion.mean(self._value) for completion in completions]

    @staticmethod
    def _value(answer: FieldAnswer) -> float:
        if answer.choice is None:
            return 0.0
        if answer.shares is not None:
            return answer.shares[answer.choice]
        # Options are numbered from 0 in the ratings, as in the scale.
        shares = [between(rating, answer.scale)[answer.choice] for rating in answer.ratings]
        return float(sum(shares)) / len(shares)
