"""The published accuracy reward: 1 for the right score or option, 0 for any other."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion


class Exact:
    """1 where the answer is the one that the label policy would write, else 0.

    With ``task.labels=sample`` that is the score of a rater sampled anew each epoch, as published; with
    ``distribution`` the score of most raters. An unreadable answer earns 0.
    """

    needs_ratings = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the fields of an answer."""
        return [
            completion.mean(
                lambda answer: float(answer.choice is not None and answer.choice == answer.wanted)
            )
            for completion in completions
        ]
