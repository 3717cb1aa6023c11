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
    return _largest(process, "VmHWM")


def anonymous_of(process: int) -> float:
    """The present memory without mapped files of a process or of the largest of its children, in MiB.

    Weights that are only read may be pages of the checkpoint's files, which the system drops when it needs memory.
    """
    return _largest(process, "RssAnon")


def _largest(process: int | None, field: str) -> float:
    try:
        family = psutil.Process(process or os.getpid())
        numbers = [family.pid, *(child.pid for child in family.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return max(_own(number, field) for number in numbers)


def _own(process: int, field: str) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text("utf-8")
    except OSError:
        return 0.0
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0.0  # a process that has ended holds nothing
