"""The settings of the group ``serve``."""

from __future__ import annotations

from dataclasses import dataclass

from dramaeval.config.fields import setting

#: The environment variable with the server's token. The token is not a setting, because settings are saved in files.
TOKEN_VARIABLE = "DRAMAEVAL_SERVE_TOKEN"


@dataclass(kw_only=True)
class ServeConfig:
    """``serve``: the server of stages=[serve]."""

    host: str = setting(
        "127.0.0.1",
        help="address on which the server listens; the default is reachable from this machine only; 0.0.0.0: from every "
        f"network, see also the variable {TOKEN_VARIABLE}",
    )
    port: int = setting(
        8000, help="port; 0: a free one, which the log names", minimum=0, maximum=65535
    )
    queue_clips: int = setting(
        256, help="clips that may wait; further requests get status 429", minimum=1
    )
    max_clips: int = setting(32, help="clips of a request; above it: status 413", minimum=1)
    max_mb: float = setting(
        32, help="size of a request in MB; above it: status 413", above=0, maximum=2000
    )
    timeout_s: float = setting(
        60,
        help="seconds in which the body of a request has to arrive, and then its answer; after that: status 408 or 504",
        above=0,
    )
