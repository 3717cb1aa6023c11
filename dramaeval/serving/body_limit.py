"""ASGI middleware that limits the size of a request's body and the time in which the body has to arrive."""

from __future__ import annotations

import asyncio
from typing import Any

from dramaeval.serving.clips import RequestError


class BodyLimit:
    """Raises `RequestError` in the route that reads a body, if the body is too large or too slow.

    The rest of a body that is too large is read and dropped, since many clients read the answer only after they have
    sent the whole body.

    Args:
        app: the application.
        max_bytes: the largest size of a body.
        timeout_s: seconds in which a body has to arrive.
    """

    def __init__(self, app: Any, max_bytes: int, timeout_s: float) -> None:
        self.app, self.max_bytes, self.timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        end, size, complete = loop.time() + self.timeout_s, 0, False

        async def next_message() -> Any:
            nonlocal size, complete
            try:
                message = await asyncio.wait_for(receive(), max(end - loop.time(), 0))
            except TimeoutError:
                raise RequestError(
                    [f"The body did not arrive within {self.timeout_s:g} s (serve.timeout_s)."], 408
                ) from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            return message

        async def limited() -> Any:
            if complete:
                return await receive()  # waits for the end of the connection
            message = await next_message()
            if size <= self.max_bytes:
                return message
            while not complete:
                await next_message()
            raise RequestError(
                [
                    f"The request has more than {self.max_bytes / 1e6:g} MB (serve.max_mb): send fewer or shorter clips, "
                    "or a compressed format such as FLAC or Ogg."
                ],
                413,
            )

        await self.app(scope, limited, send)
