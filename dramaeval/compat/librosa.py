"""librosa's compiled functions."""

from __future__ import annotations

import functools
import os
import socket
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np


@functools.cache
def compiled_librosa() -> ModuleType:
    """librosa, with the functions that estimate f0 and onsets compiled; safe with several processes at a time.

    Reaches: ``numba.config.CACHE_DIR``, where numba is imported already.
    Why: librosa compiles functions when its modules are imported and when they are first called. Processes that
        do so for a common cache at the same time can write files that do not belong together, and each process
        that loads them later ends with a segmentation fault (numba #10128). Here each user has one cache on each
        machine, and one process at a time imports and compiles.
    Since: numba 0.61; librosa 0.11.
    Remove when: https://github.com/numba/numba/pull/10545 is in the oldest numba that librosa installs.
    """
    from filelock import FileLock

    folder = _cache_folder()
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    else:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
    noise = np.random.default_rng(0).normal(size=8_192).astype(np.float32)
    with FileLock(folder / "dramaeval.lock"):
        import librosa
        import librosa.feature  # librosa imports its modules, and compiles their functions, at their first use
        from librosa.onset import onset_detect

        librosa.pyin(noise, fmin=65, fmax=500, sr=16_000, resolution=0.2)
        onset_detect(y=noise, sr=16_000)
    return librosa


def _cache_folder() -> Path:
    """A folder of this user on this machine; a new one for this process where the home folder is not writable."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "dramaeval" / "librosa" / socket.gethostname()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # no home folder, a full disk, a read-only one: the new folder below does as well
    return Path(tempfile.mkdtemp(prefix="dramaeval-librosa-"))
