"""Replaces a file in one step, also if several processes, on one machine or on several, write it at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

#: The ending of temporary files.
UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a temporary file, which replaces ``path`` at the end of the block; after an error it is removed.

    Each block has its own path: two processes that wrote to the same temporary file could complete half a file.
    """
    unfinished = path.with_name(f"{path.name}.{token_hex(8)}{UNFINISHED}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
