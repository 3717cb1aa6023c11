"""How much memory a process has held at most.

`ru_maxrss` will not do: a process that is started inherits it from the one that starts it, so that a large
benchmark would lend its own size to every contender.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil


def peak_of(process: int | None = None) -> float:
    """MiB at most resident so far in a process, or in the largest of its children; None: this one."""
    try:
        family = psutil.Process(process or os.getpid())
        numbers = [family.pid, *(child.pid for child in family.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return max(map(_own, numbers))


def _own(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text("utf-8")
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0.0  # a process that has ended holds nothing
