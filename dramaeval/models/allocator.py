"""Memory of a pass on a CPU: what one operation frees, the next one takes.

glibc gives large blocks back to the operating system as they are freed, and a pass allocates and frees its
activations by the gigabyte: every page is then mapped and cleared again, up to a tenth of the time of a pass
(docs/benchmarks.md). On a GPU PyTorch's own allocator keeps them.
"""

from __future__ import annotations

import ctypes
import os
import platform

#: Parameters of mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: So much of the heap is kept when it is free; mallopt takes an int.
_KEPT = 2**30
#: Blocks up to this size come from the heap: what glibc's own threshold, if nobody sets one, grows to.
_LARGEST = 2**25
#: Where any of these is set, memory has been arranged for already: the way back.
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and say whether it does.

    It does not without glibc, or where one of `SETTINGS` is in the environment.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _LARGEST))
