"""Measures throughput and means of figures between two logged steps."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from dramaeval.distributed.processes import Processes


class StepStatistics:
    """Counts and values of one process, merged over all processes when they are logged.

    Args:
        rates: counts that are logged as ``NAME_per_second``, summed over the processes.
    """

    def __init__(self, rates: Sequence[str]) -> None:
        self.rates = rates
        self._reset()

    def _reset(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values: dict[str, list[float]] = defaultdict(list)
        self.started = time.monotonic()

    def count(self, **counts: float) -> None:
        """Add to the counts."""
        self.counts.update(counts)

    def add(self, name: str, value: float) -> None:
        """Add a value; the mean of the values under a name is logged."""
        self.values[name].append(value)

    def pause(self, seconds: float) -> None:
        """Leave time out of the throughput, for example the time of a validation."""
        self.started += seconds

    def collect(self, processes: Processes) -> tuple[dict[str, float], Counter[str]]:
        """Return the figures to log and the counts, over all processes, and reset them.

        Every process of the training calls this at the same step.
        """
        counts: Counter[str] = Counter()
        values: dict[str, list[float]] = defaultdict(list)
        for other_counts, other_values in processes.gather((self.counts, dict(self.values))):
            counts.update(other_counts)
            for name, numbers in other_values.items():
                values[name] += numbers
        elapsed = max(time.monotonic() - self.started, 1e-9)
        figures = {f"{name}_per_second": round(counts[name] / elapsed, 3) for name in self.rates}
        figures |= {name: sum(numbers) / len(numbers) for name, numbers in values.items()}
        self._reset()
        return figures, counts
