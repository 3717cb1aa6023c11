"""Measures the peak memory of a process.

`ru_maxrss` is not used, because a child process inherits its value from the parent: every contender would have at least
the size of the benchmark.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil


def peak_of(process: int | None = None) -> float:
    """The largest resident size so far of a process or of the largest of its children, in MiB; None: this process."""
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
