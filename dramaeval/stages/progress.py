"""Logs the progress of scoring: the number of finished pieces and the remaining time."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.durations import duration

log = logging.getLogger(__name__)

#: The name of the file with the progress of a run, in its folder.
FILE = "progress.json"
#: Seconds between two lines.
EVERY = 10.0


class Progress:
    """Counts finished pieces and logs a line every few seconds.

    Args:
        work: the name of the work, with which each line begins.
        total: the number of pieces.
        unit: the name of the pieces, in the plural.
        file: a JSON file that gets the same figures, for other processes; None: no file.
        before: the number of pieces that an earlier start has finished, for the file.
    """

    def __init__(
        self,
        work: str,
        total: int,
        unit: str,
        *,
        file: Path | None = None,
        before: int = 0,
    ) -> None:
        self.work, self.total, self.unit = work, total, unit
        self.file, self.before = file, before
        self.done = 0
        self.began = self.logged = time.monotonic()

    def __call__(self, pieces: int) -> None:
        """Count newly finished pieces."""
        self.done += pieces
        now = time.monotonic()
        if now - self.logged >= EVERY and self.done < self.total:
            self.logged = now
            left = duration((now - self.began) / self.done * (self.total - self.done))
            log.info(
                "%s: %d of %d %s, %.3g a second, %s left",
                *(self.work, self.done, self.total, self.unit, self.rate, left),
            )
            self._write()

    def finish(self) -> None:
        """Log the number of pieces and the total time."""
        elapsed = duration(time.monotonic() - self.began)
        rate = f" ({self.rate:.3g} a second)" if self.done > 1 else ""
        log.info("%s: %d %s in %s%s", self.work, self.done, self.unit, elapsed, rate)
        self._write()

    @property
    def rate(self) -> float:
        """The number of pieces per second since the start."""
        return self.done / max(time.monotonic() - self.began, 1e-9)

    def _write(self) -> None:
        if self.file is None:
            return
        values = {
            "done": self.before + self.done,
            "total": self.before + self.total,
            "rate": round(self.rate, 4) if self.done else 0.0,
            "seconds": round(time.monotonic() - self.began, 1),
        }
        write_json_atomic(self.file, values)
