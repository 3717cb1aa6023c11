"""Sets up standard output and standard error of a command."""

from __future__ import annotations

import io
import sys


def accept_any_text() -> None:
    r"""Print a character that a stream cannot encode as its escape, such as ``\u2192``.

    Without this, a finished run would end in a UnicodeEncodeError if the locale is C or POSIX.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
