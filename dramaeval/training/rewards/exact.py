"""The published accuracy reward: 1 for the right score or option, 0 for any other."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion


class Exact:
    """1 for the answer that the label policy writes, else 0; an unreadable answer earns 0.

    With ``task.labels=sample`` this is the score of a rater who is sampled in each epoch, as published; with
    ``distribution`` it is the score of most raters.
    """

    needs_ratings = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, from 0 to 1: the mean over the fields of its answer."""
        return [
            completion.mean(
                lambda answer: float(answer.choice is not None and answer.choice == answer.wanted)
            )
            for completion in completions
        ]
