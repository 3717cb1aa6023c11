"""The process keeps the memory that it frees, unless environment variables configure the allocator."""

import os
import platform
import subprocess
import sys

import pytest
from contracts import contract

from dramaeval.compat import glibc

#: Prints the MiB that the process keeps after it has freed twenty blocks of 8 MiB.
MEASURED = """
import numpy as np
import psutil
from dramaeval import startup
from dramaeval.compat.glibc import keep_freed_memory

{prepare}
process = psutil.Process()
before = process.memory_info().rss
blocks = [np.ones(2**20) for _ in range(20)]
del blocks
print((process.memory_info().rss - before) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("setting", [None, *glibc.SETTINGS])
def test_freed_memory_is_kept(setting):
    # A value without effect: glibc's default threshold, or no tunable.
    around = {key: value for key, value in os.environ.items() if key not in glibc.SETTINGS}
    around |= {} if setting is None else {setting: "" if setting == "GLIBC_TUNABLES" else "131072"}
    # The start of a run imports torch; once is enough.
    prepare = "keep_freed_memory()" if setting else "startup.prepare_device('cpu')"
    command = [sys.executable, "-c", MEASURED.format(prepare=prepare)]
    done = subprocess.run(command, env=around, capture_output=True, text=True, check=True)
    kept = float(done.stdout)
    with contract(glibc.keep_freed_memory):
        assert kept > 120 if setting is None else kept < 40, kept


def test_other_libc_is_not_changed(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not glibc.keep_freed_memory()
