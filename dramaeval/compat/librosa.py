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
    """librosa with compiled functions for f0 and onsets; several processes may call this at the same time.

    Reaches: ``numba.config.CACHE_DIR``, if numba is already imported.
    Why: librosa compiles functions when its modules are imported and when the functions are first called. If several
        processes compile into one cache at the same time, the files can be inconsistent, and every process that loads
        them later ends with a segmentation fault (numba #10128). Here each user has one cache on each machine, and
        one process at a time imports and compiles.
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
        import librosa.feature  # librosa imports a module, and compiles its functions, at the first use
        from librosa.onset import onset_detect

        librosa.pyin(noise, fmin=65, fmax=500, sr=16_000, resolution=0.2)
        onset_detect(y=noise, sr=16_000)
    return librosa


def _cache_folder() -> Path:
    """A folder of this user for this machine; a new temporary folder if the home folder is not writable."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "dramaeval" / "librosa" / socket.gethostname()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # for example without a home folder, or on a full or read-only disk
    return Path(tempfile.mkdtemp(prefix="dramaeval-librosa-"))
