"""The published accuracy reward: 1 for the right score or option, 0 for any other."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion, over_places


class Exact:
    """1 where the answer is what the label policy would have written, else 0.

    With ``task.labels=sample`` that is a rater drawn anew each epoch, as published; with ``distribution`` the
    score that most raters gave. An unreadable answer earns 0.
    """

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the places of an answer."""
        return [
            over_places(one, lambda given: float(given.choice == given.wanted))
            for one in completions
        ]
