r"""Errors that end a command with one message, and the exit codes of all commands.

| code | meaning |
| --- | --- |
| 0 | finished |
| 1 | stopped by a problem that the message describes: settings, records, weights, memory, a dead process |
| 2 | the command line has an unknown option |
| 3 | the run cannot write: the disk is full, the folder is read-only, or it was deleted |
| 130 | stopped by Ctrl-C |
| 141 | the reader of the output has ended, as in `… \| head` |
| 143 | terminated by SIGTERM |
"""

from __future__ import annotations

import traceback

STOPPED = 1
STORAGE = 3
INTERRUPTED = 130
CLOSED = 141


class UserFacingError(Exception):
    """An error that the user can fix: the command shows its message without a traceback.

    Attributes:
        exit_code: of the command.
    """

    exit_code = STOPPED


def raised(error: BaseException) -> str:
    """An error of the user's code: its class and message, with the file and line at which it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
