"""How long an answer is."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion


class Length:
    """0 up to ``free`` tokens, and −1 at ``most``; in between and beyond on the straight line through both.

    Args:
        free: tokens that cost nothing.
        most: tokens that cost 1.
    """

    def __init__(self, free: int = 16, most: int = 64) -> None:
        if not 0 <= free < most:
            raise ValueError(f"free={free} must be at least 0 and below most={most}.")
        self.free = free
        self.most = most

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, 0 or below."""
        return [-max(0, one.tokens - self.free) / (self.most - self.free) for one in completions]
