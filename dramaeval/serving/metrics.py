"""Figures of a running server, in the text format of Prometheus."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Upper bounds of the latencies, in seconds.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Upper bounds of the batch sizes, in clips.
_CLIPS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dramaeval_requests", "Finished requests", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "dramaeval_request_seconds",
            "Duration of a request, from its headers to the end of its response",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.accepted = Counter(
            "dramaeval_accepted_requests",
            "Requests that entered the queue",
            registry=self.registry,
        )
        self.batches = Histogram(
            "dramaeval_batch_clips", "Clips of a batch", buckets=_CLIPS, registry=self.registry
        )
        self.waiting = Gauge(
            "dramaeval_waiting_clips", "Clips in the queue", registry=self.registry
        )

    @property
    def accepted_count(self) -> int:
        """The requests that entered the queue."""
        (metric,) = self.accepted.collect()
        return int(next(s.value for s in metric.samples if s.name.endswith("_total")))

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self.registry)


class MeasuredRequests:
    """ASGI middleware that counts and times requests by path; unknown paths count as ``other``."""

    def __init__(self, app: Any, metrics: ServerMetrics, paths: frozenset[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self.paths else "other"
        start, status = time.perf_counter(), 500

        async def send_and_record(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        finally:
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
