"""Standard output and standard error of a command."""

from __future__ import annotations

import io
import sys


def accept_any_text() -> None:
    r"""Let this process print every text; a stream without a character gets its escape, such as ``\u2192``.

    Otherwise a finished run would end in a UnicodeEncodeError where the locale is C or POSIX.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
