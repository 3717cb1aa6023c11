"""A reward (a cost) by the length of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion


class Length:
    """0 up to ``free`` tokens; beyond, it falls linearly and is −1 at ``most`` tokens.

    Args:
        free: number of tokens without a cost.
        most: number of tokens with a cost of 1.
    """

    def __init__(self, free: int = 16, most: int = 64) -> None:
        if not 0 <= free < most:
            raise ValueError(f"free={free} must be at least 0 and below most={most}.")
        self.free = free
        self.most = most

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, 0 or negative."""
        scale = self.most - self.free
        return [-max(0, completion.tokens - self.free) / scale for completion in completions]
