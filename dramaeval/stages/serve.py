"""The stage ``serve``: answers HTTP requests with the judge until SIGTERM or Ctrl-C.

The server is in `dramaeval.serving`, which uses the Python API. Stages cannot import it, so the callers of the pipeline
pass it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from omegaconf import DictConfig

from dramaeval.config.extras import missing_package
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.config.serve_settings import TOKEN_VARIABLE
from dramaeval.data.turns import NONE
from dramaeval.distributed.processes import started_by_launcher
from dramaeval.stages.context import RunContext
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.reference import uses_reference

#: Serves the judge of a run.
Serve = Callable[[RunContext], None]

_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage, and of missing packages."""
    if Stage.serve not in config.stages:
        return []
    feature = "stages=[serve]"
    missing = [missing_package(package, feature) for package in _PACKAGES]
    problems = [problem for problem in missing if problem][:1]
    if config.processes > 1 or started_by_launcher():
        problems.append(
            f"processes={config.processes}: {feature} serves with one process; start a server for each GPU, each with its "
            "own serve.port, and a load balancer before them."
        )
    settings = config.serve
    if settings.max_clips > settings.queue_clips:
        problems.append(
            f"serve.max_clips={settings.max_clips} is more than serve.queue_clips={settings.queue_clips}: a request of "
            "that many clips would never be accepted."
        )
    if os.environ.get(TOKEN_VARIABLE, "unset").strip() == "":
        problems.append(
            f"{TOKEN_VARIABLE} is empty: set it to the token of the server, or unset it for a server without a token."
        )
    try:
        listening_socket(settings.host, settings.port).close()
    # UnicodeError: a part of the name is empty or longer than 63 characters.
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        problems.append(
            f"serve.host={settings.host} serve.port={settings.port}: the server cannot listen there "
            f"({reason}): choose another port, or serve.port=0 for a free one."
        )
    return problems


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address; it accepts connections when the server has started.

    Raises:
        OSError: the address is in use, or does not belong to this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def check_records(context: RunContext) -> list[str]:
    """Problems of a task without scores, or with prompts that need more than the clips and texts of a request."""
    task = context.task
    if Stage.serve not in context.stages:
        return []
    if task.turns != NONE or uses_reference(task.dimensions):
        # A request could otherwise name a file of the server as its reference.
        further = "a reference"
        if task.turns != NONE:
            further = f"the turns before a clip (task.turns={task.turns})"
        return [
            f"stages=[serve] takes clips and their texts, and task={task.name} also reads {further}: use Judge.score."
        ]
    rated = not task.parts and len(task.rated_dimensions) == len(task.dimensions)
    if rated or isinstance(task, PairTask):
        return []
    return [
        f"stages=[serve] needs one task with ratings or of pairs, and task={task.name} is not one: give the task that is "
        "to be served, such as task=role."
    ]


def require_server(config: DictConfig, serve: Serve | None) -> None:
    """Raise ConfigError for a run of this stage whose caller has no server, as the Python API and sweeps have none."""
    if serve is None and Stage.serve in config.stages and not config.plan:
        raise ConfigError("stages=[serve] needs the command dramaeval serve RUN.")


def run(context: RunContext, serve: Serve | None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        serve: the function that runs the server; see `require_server`.
    """
    require_server(context.config, serve)
    if serve is not None:
        serve(context)
