"""Progress lines of scoring: how much is done and how long the rest will take."""

from __future__ import annotations

import logging
import time

from dramaeval.data.durations import duration

log = logging.getLogger(__name__)


class Progress:
    """Counts finished pieces and logs a line every few seconds.

    Args:
        work: name of the work, which begins each line.
        total: number of pieces.
        unit: name of a piece, in the plural.
        every: seconds between two lines.
    """

    def __init__(self, work: str, total: int, unit: str, every: float = 10.0) -> None:
        self.work, self.total, self.unit, self.every = work, total, unit, every
        self.done = 0
        self.began = self.logged = time.monotonic()

    def __call__(self, pieces: int) -> None:
        """Count pieces that have just been finished."""
        self.done += pieces
        now = time.monotonic()
        if now - self.logged >= self.every and self.done < self.total:
            self.logged = now
            left = duration((now - self.began) / self.done * (self.total - self.done))
            log.info("%s: %d of %d %s, %s left", self.work, self.done, self.total, self.unit, left)

    def finish(self) -> None:
        """Log the total and the time that it took."""
        took = duration(time.monotonic() - self.began)
        log.info("%s: %d %s in %s", self.work, self.done, self.unit, took)
