"""Runs uvicorn on one socket until SIGTERM or Ctrl-C; accepted requests are then still answered."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dramaeval.config.serve_settings import TOKEN_VARIABLE
from dramaeval.models.inputs.record_encoder import attach_encoding_cache
from dramaeval.stages.context import RunContext
from dramaeval.stages.serve import listening_socket

if TYPE_CHECKING:
    from dramaeval.serving.app import Server

log = logging.getLogger(__name__)

#: Seconds for sending responses after the time limit of a request.
_SEND_S = 5


def serve(context: RunContext) -> None:
    """Serve the judge of a run until SIGTERM or SIGINT.

    After the signal no connection is accepted; requests in the queue are scored and answered, and the function returns.
    """
    import uvicorn

    from dramaeval.serving.app import make_app

    settings = context.config.serve
    server = make_server(context)
    listening = listening_socket(settings.host, settings.port)
    config = uvicorn.Config(
        make_app(server),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.timeout_s) + _SEND_S,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _log_start(settings.host, listening.getsockname()[1], server)
    with _stop_signals_end_the_server():
        uvicorn.Server(config).run(sockets=[listening])
    log.info("The server has stopped. It accepted %d requests.", server.metrics.accepted_count)


def make_server(context: RunContext) -> Server:
    """The server of a run's judge; loads the judge."""
    from dramaeval.api.judge import Judge
    from dramaeval.serving.app import Server, ServerSettings
    from dramaeval.serving.batching import BatchScorer
    from dramaeval.serving.intake import Intake
    from dramaeval.serving.metrics import ServerMetrics

    config, task = context.config, context.task.name
    # Uploaded clips have no keys in the cache of encodings, so the cache would encode them one by one.
    attach_encoding_cache(context.model, context.record_encoder, None)
    judge = Judge(context.model, context.family, context.record_encoder.processor, config)
    metrics = ServerMetrics()
    scorer = BatchScorer(
        judge,
        task,
        queue_clips=config.serve.queue_clips,
        batch_clips=config.batch.eval_clips,
        on_batch=metrics.batches.observe,
    )
    token = os.environ.get(TOKEN_VARIABLE)
    settings = ServerSettings(
        title=f"dramaeval: {task}",
        max_mb=config.serve.max_mb,
        timeout_s=config.serve.timeout_s,
        token=token and token.strip(),
    )
    return Server(scorer, Intake(judge, task, max_clips=config.serve.max_clips), settings, metrics)


def _log_start(host: str, port: int, server: Server) -> None:
    shown = f"[{host}]" if ":" in host else host
    log.info("Serving the task %s at http://%s:%d", server.intake.task.name, shown, port)
    if server.settings.token is None and host not in ("127.0.0.1", "::1", "localhost"):
        log.warning(
            "Other machines can use this server without a token: set %s to require one.",
            TOKEN_VARIABLE,
        )


@contextmanager
def _stop_signals_end_the_server() -> Iterator[None]:
    """Ignore the stop signals that uvicorn, which handles them, raises again when it ends."""

    def ignore(number: int, frame: Any) -> None:
        log.info("%s: the server has answered what it accepted.", signal.Signals(number).name)

    before = {number: signal.signal(number, ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
