"""Dynamic batching: a bounded queue of clips, and one thread that scores the waiting clips together.

The thread never waits for a batch to fill: an idle judge scores the first clip at once, and the clips that arrive
during that pass form the next batch. `Judge.score` computes the scores, so they equal those of the Python API.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

log = logging.getLogger(__name__)


class QueueFullError(Exception):
    """The queue has no room for the clips of a request."""


class StoppingError(Exception):
    """The server is stopping and accepts no further requests."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One clip to score, or two clips to compare in one prompt.

    Attributes:
        clips: one or two clips, float32 ``[samples]`` at the judge's sampling rate.
        texts: the texts of the task by name.
        result: the `ClipScores` of one clip, or the `Comparison` of two clips by dimension.
    """

    clips: tuple[np.ndarray, ...]
    texts: Mapping[str, str]
    result: Future[Any] = field(default_factory=Future, compare=False)

    def fits(self, other: Job) -> bool:
        """Whether this job and another can be scored in one call of `Judge.score`."""
        return len(self.clips) == len(other.clips) == 1 and self.texts.keys() == other.texts.keys()


class BatchScorer:
    """Scores the jobs that many threads submit with one judge, in a separate thread.

    Args:
        judge: a `dramaeval.api.judge.Judge`; no other thread may use it.
        task: name of the task.
        queue_clips: the number of clips that may wait.
        batch_clips: the number of clips per forward pass.
        on_batch: a function that is called with the number of clips of each batch.
    """

    def __init__(
        self,
        judge: Any,
        task: str,
        *,
        queue_clips: int = 256,
        batch_clips: int = 8,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.judge, self.task = judge, task
        self.queue_clips, self.batch_clips = queue_clips, batch_clips
        self._on_batch = on_batch
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()  # its lock is re-entrant
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="judge", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def waiting_clips(self) -> int:
        """The number of clips in the queue."""
        with self._changed:
            return sum(len(job.clips) for job in self._queue if not job.result.cancelled())

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put all jobs of a request into the queue, or none.

        The scores arrive in ``job.result``; ``job.result.cancel()`` removes a job that has not begun.

        Raises:
            QueueFullError: the queue has no room for all jobs.
            StoppingError: `stop` was called.
        """
        with self._changed:
            self.require_room(sum(len(job.clips) for job in jobs))
            self._queue.extend(jobs)
            self._changed.notify()

    def require_room(self, clips: int) -> None:
        """Raise `QueueFullError` or `StoppingError` if this number of clips cannot be submitted now."""
        with self._changed:
            if self._stopping:
                raise StoppingError("The server is stopping.")
            waiting = self.waiting_clips
            if waiting + clips > self.queue_clips:
                raise QueueFullError(
                    f"{waiting} clips wait, and {self.queue_clips} may wait (serve.queue_clips)."
                )

    def stop(self) -> None:
        """Accept no further jobs, score the jobs in the queue, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            running = [job for job in batch if job.result.set_running_or_notify_cancel()]
            if running:
                self._on_batch(sum(len(job.clips) for job in running))
                self._answer(running)

    def _next_batch(self) -> list[Job]:
        """The first job and the jobs that fit it, in order; waits for a job. Empty if `stop` was called and no job waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            if not self._queue:
                return []
            batch, others = [self._queue.popleft()], deque[Job]()
            while self._queue and len(batch) < self.batch_clips:
                job = self._queue.popleft()
                (batch if job.fits(batch[0]) else others).append(job)
            self._queue.extendleft(reversed(others))
            return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        """Score a batch; if this fails, score each job separately, so that only the job with a bad clip or text fails."""
        try:
            results = self._results(batch)
        except Exception as error:  # noqa: BLE001 - the job's client receives the error
            if len(batch) == 1:
                batch[0].result.set_exception(error)
                return
            log.info("A batch of %d clips failed; each is scored by itself: %s", len(batch), error)
            for job in batch:
                self._answer([job])
        else:
            for job, result in zip(batch, results, strict=True):
                job.result.set_result(result)

    def _results(self, batch: Sequence[Job]) -> Sequence[Any]:
        first = batch[0]
        if len(first.clips) == 2:
            return [self.judge.compare(*first.clips, self.task, **first.texts)]
        texts = {name: [job.texts[name] for job in batch] for name in first.texts}
        return self.judge.score(
            [job.clips[0] for job in batch], self.task, clips_a_batch=self.batch_clips, **texts
        )
