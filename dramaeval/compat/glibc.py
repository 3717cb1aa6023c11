"""Private parts of the C library's allocator."""

from __future__ import annotations

import ctypes
import os
import platform

#: Parameters of mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: The number of free bytes that are kept at the top of the heap; mallopt takes an int.
_KEPT = 2**30
#: Blocks up to this size come from the heap: the maximum of glibc's dynamic threshold, and the limit for wide models.
_LARGEST, _LARGEST_IF_WIDE = 2**25, 2**22
#: Language models from this width on are wide.
WIDE = 2048
#: Environment variables that configure the allocator. If one of them is set, this module changes nothing.
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory(width: int = 0) -> bool:
    """Let this process keep the memory that it frees, unless one of `SETTINGS` is set.

    Args:
        width: of the language model; 0 if no model is chosen yet. For a wide one, large blocks are not kept.

    Returns:
        whether the process keeps it; False without glibc.

    Reaches: ``mallopt`` with M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    Why: glibc returns large blocks to the operating system when they are freed. A forward pass on a CPU allocates and
    frees gigabytes of activations, and the system maps and clears each page again: up to a tenth of the time of a pass
    (docs/benchmarks.md). On a GPU, PyTorch's allocator keeps freed blocks.
    Why not for wide models: small blocks that stay are placed into large ones that were freed, and the next large block
    needs new memory: gigabytes in a step of the 7B (docs/true_size.md). The work for each byte of an activation grows
    with the width, so that clearing its pages takes a smaller part of the time.
    Since: glibc 2.0.
    Remove when: PyTorch has an allocator for CPUs that keeps freed blocks.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in SETTINGS):
        return False
    largest = _LARGEST_IF_WIDE if width >= WIDE else _LARGEST
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, largest))
