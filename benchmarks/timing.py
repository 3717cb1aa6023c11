"""Alternating timings: A B A B, each round's ratio, medians over the rounds.

Two contenders that take turns meet the same machine, whatever else it is doing; the ratio of a round is
therefore steadier than either time. Every figure that is written down keeps its rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: One turn of a contender; returns seconds a unit of work, warm-up apart.
Turn = Callable[[], float]
OURS = "dramaeval"


@dataclass(kw_only=True)
class Row:
    """One line of the results.

    Attributes:
        section: the section's name.
        work: what was done.
        unit: what the figures are, for example ``s a question``.
        rounds: a contender's figure in every round, `OURS` first.
        target: how many times as fast as the fastest other it should be; None where none is set.
        note: what has to be said beside it.
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
        """A contender's median over the rounds."""
        return statistics.median(self.rounds[name])

    @property
    def fastest(self) -> str | None:
        """The fastest of the others; None where there is none."""
        others = [name for name in self.rounds if name != OURS]
        return min(others, key=self.median) if others else None

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as the fastest other, round by round."""
        if self.fastest is None:
            return []
        pairs = zip(self.rounds[self.fastest], self.rounds[OURS], strict=True)
        return [other / own for other, own in pairs]

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    def to_json(self) -> dict[str, Any]:
        """For the results file."""
        return asdict(self)


def alternate(
    turns: Mapping[str, Turn], rounds: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Let contenders take turns; with ``warm`` a first round that nobody counts comes before."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(0 if warm else 1, rounds + 1):
        for name, turn in turns.items():
            taken = turn()
            if number:
                found[name].append(taken)
    return found


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
