"""What a pass on a CPU frees stays with the process, unless its environment says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from dramaeval.compat import glibc

#: MiB of the process that twenty freed blocks of 8 MiB have left behind.
MEASURED = """
import psutil
import torch
from dramaeval import startup

startup.prepare_device("cpu")
process = psutil.Process()
before = process.memory_info().rss
blocks = [torch.ones(2**21) for _ in range(20)]
del blocks
print((process.memory_info().rss - before) / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back")
@pytest.mark.parametrize("setting", [None, *glibc.SETTINGS])
def test_freed_memory_is_kept(setting):
    # By a value that changes nothing: glibc's own threshold, or no tunable at all.
    around = {key: value for key, value in os.environ.items() if key not in glibc.SETTINGS}
    around |= {} if setting is None else {setting: "" if setting == "GLIBC_TUNABLES" else "131072"}
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, env=around, capture_output=True, text=True, check=True)
    kept = float(done.stdout)
    assert kept > 120 if setting is None else kept < 40, kept


def test_another_libc_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not glibc.keep_freed_memory()
