r"""Errors that end a command with one message, and the exit codes of all commands.

| code | meaning |
| --- | --- |
| 0 | finished |
| 1 | stopped; the message says why: settings, records, weights, memory, a process that died |
| 2 | the command line has a word that Hydra does not know |
| 3 | the run cannot write: the disk is full, the folder is read-only, or it was deleted |
| 130 | stopped by Ctrl-C |
| 141 | nobody reads the output any more, as after `… \| head` |
| 143 | terminated by SIGTERM |
"""

from __future__ import annotations

STOPPED = 1
STORAGE = 3
INTERRUPTED = 130
CLOSED = 141


class UserFacingError(Exception):
    """An error that the user can mend: its message is shown, its traceback is not.

    Attributes:
        exit_code: of the command that it ends.
    """

    exit_code = STOPPED
