"""Alternating timings: A B A B, the ratio of each round, and medians over the rounds.

Contenders that take turns have the same load of the machine, so that the ratio of a round varies less than the times. The
results keep the figures of every round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.contender import Contender

#: One turn of a contender; returns seconds a unit of work, warm-up apart.
Turn = Callable[[], float]
OURS = "dramaeval"


@dataclass(kw_only=True)
class Row:
    """One line of the results.

    Attributes:
        section: the section's name.
        work: description of the work.
        unit: of the figures, for example ``s a question``.
        rounds: the figures of each contender in every round, `OURS` first.
        target: the goal of the ratio to the fastest other contender; None for no goal.
        note: a remark on the row.
        facts: further figures, by name.
    """

    section: str
    work: str
    unit: str
    rounds: Mapping[str, list[float]]
    target: float | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """The median of a contender over the rounds."""
        return statistics.median(self.rounds[name])

    @property
    def fastest(self) -> str | None:
        """The fastest of the others; None if there is no other."""
        others = [name for name in self.rounds if name != OURS]
        return min(others, key=self.median) if others else None

    @property
    def ratios(self) -> list[float]:
        """The quotient of the fastest other's figure and ours, in each round."""
        if self.fastest is None:
            return []
        pairs = zip(self.rounds[self.fastest], self.rounds[OURS], strict=True)
        return [other / own for other, own in pairs]

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    def to_json(self) -> dict[str, Any]:
        """The row as JSON, for the results file."""
        return asdict(self)


def alternate(
    turns: Mapping[str, Turn], rounds: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Let contenders take turns; ``warm`` adds a first round that is not counted. Their processes end with the last turn."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    try:
        for number in range(0 if warm else 1, rounds + 1):
            for name, turn in turns.items():
                taken = turn()
                if number:
                    found[name].append(taken)
    finally:
        for turn in turns.values():
            if isinstance(turn, Contender):
                turn.close()
    return found


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
