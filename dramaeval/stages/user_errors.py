"""Ends a command with one message if the user can fix the error; other errors keep their traceback."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from dramaeval.config.secrets import without_secrets
from dramaeval.distributed.processes import launched_as_rank_zero
from dramaeval.errors import CLOSED, INTERRUPTED, STORAGE, UserFacingError
from dramaeval.stages.storage_errors import storage_problem

log = logging.getLogger(__name__)


@contextmanager
def user_facing_errors(folder: Path | None = None) -> Iterator[None]:
    """Turn user-facing errors, errors of storage and Ctrl-C into one message and an exit code.

    Args:
        folder: the run folder for the message, if known.

    Raises:
        SystemExit: with a code from `dramaeval.errors`.
    """
    try:
        yield
    except UserFacingError as error:
        if error.exit_code == 1:
            raise SystemExit(f"\n{without_secrets(str(error))}") from None
        _end(without_secrets(str(error)), error.exit_code)
    except KeyboardInterrupt:
        with suppress(ValueError):  # only the main thread can set handlers
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
        _end(f"Stopped by Ctrl-C.{_resume_hint(folder)}", INTERRUPTED)
    except BrokenPipeError:
        if not _detach_closed_output():
            raise
        raise SystemExit(CLOSED) from None
    except Exception as error:
        problem = storage_problem(error, folder)
        if problem is None:
            raise
        if logging.getLogger().handlers:  # without handlers, Python would print the record
            log.error("%s", problem, exc_info=True, extra={"only_in_file": True})
        hint = _resume_hint(folder) if folder and folder.is_dir() else ""
        _end(problem + hint, STORAGE)


def _resume_hint(folder: Path | None) -> str:
    """The advice how to resume an interrupted run; empty if its folder is not known."""
    return (
        f" To resume the run, start the same command with hydra.run.dir={folder}" if folder else ""
    )


def _detach_closed_output() -> bool:
    """Send standard output to /dev/null if its reader has ended (``… | head``); returns whether the reader has ended."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    closed = any(events & select.POLLERR for _, events in output.poll(0))
    if closed:
        # Python flushes the stream at its exit, and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _end(message: str, code: int) -> NoReturn:
    # Ctrl-C reaches all processes of a run, and only rank 0 reports it.
    reports = code != INTERRUPTED or launched_as_rank_zero()
    # The terminal may be closed, or standard error may be a file on the full disk.
    with suppress(OSError):
        if reports:
            print(f"\n{message}", file=sys.stderr, flush=True)
    raise SystemExit(code) from None
