"""A contender in a process of its own, which waits while another has its turn.

Contenders of one process affect each other: dramaeval makes the allocator keep its memory (`dramaeval.startup`), and that
makes every later step of the process faster, plain transformers' too.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Contender:
    """Takes turns in a process that is started for the first one.

    Args:
        make: a function of a module; called in the process, it returns a function that does the work once and returns
            its figure.
        given: the arguments of `make`.
        kept: whether the process stays for the next turn. One that does not frees its memory, and pays the start again.
    """

    def __init__(
        self, make: Callable[..., Callable[[], float]], *given: Any, kept: bool = True
    ) -> None:
        self._make = make
        self._given = given
        self._kept = kept
        self._process: Any = None
        self._connection: Any = None

    def __call__(self) -> float:
        """One turn; raises RuntimeError with the traceback of the process if it fails."""
        if self._process is None:
            self._start()
        self._connection.send("turn")
        try:
            figure, error = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"the process of a contender ended with {code}") from None
        if error:
            raise RuntimeError(f"a contender failed in its process:\n{error}")
        if not self._kept:
            self.close()
        return figure

    def close(self) -> None:
        """End the process; a later turn starts a new one."""
        if self._process is not None:
            self._connection.close()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        # A spawned process has imported nothing, as the process of a user.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._make, self._given))
        self._process.start()
        other.close()


def _serve(
    connection: Connection, make: Callable[..., Callable[[], float]], given: tuple[Any, ...]
) -> None:
    turn = None
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        try:
            turn = turn or make(*given)
            answer: tuple[float, str] = (turn(), "")
        except Exception:  # noqa: BLE001 - of any kind; it is shown by the process that measures
            answer = (0.0, traceback.format_exc())
        connection.send(answer)
