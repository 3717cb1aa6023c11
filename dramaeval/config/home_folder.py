"""Paths that begin with ``~``."""

from __future__ import annotations

import os
from pathlib import Path


def expand_home(path: str | os.PathLike[str]) -> Path:
    """A path with the home folder in place of ``~`` or ``~name``; as it is if there is no such account.

    `Path.expanduser` raises an error for an account that does not exist. A path that is kept leads to the message about
    a file that does not exist.
    """
    return Path(os.path.expanduser(path))
