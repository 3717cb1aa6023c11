"""Whether an answer has the requested form."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion


class Format:
    """1 for an answer in the requested form, ended by the judge and with nothing around it; else 0."""

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, 0 or 1."""
        return [float(completion.well_formed) for completion in completions]
