"""A reward for the requested form of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion


class Format:
    """1 for a completion that the judge ends and that is only an answer in the requested form, else 0."""

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, 0 or 1."""
        return [float(completion.well_formed) for completion in completions]
