"""A process keeps freed memory, unless environment variables configure the allocator of glibc."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from contracts import contract

from dramaeval.compat import glibc
from dramaeval.config.composition import compose
from dramaeval.stages.builders import build_family

#: Prints the MiB of memory that the process still has after it frees twenty blocks of 8 MiB.
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
def test_freed_memory_is_kept_unless_a_variable_is_set(setting):
    # The values have no effect of their own: the default threshold of glibc, or no tunable.
    variables = {key: value for key, value in os.environ.items() if key not in glibc.SETTINGS}
    variables |= (
        {} if setting is None else {setting: "" if setting == "GLIBC_TUNABLES" else "131072"}
    )
    # prepare_device is what a run calls, but it imports torch, so only one case uses it.
    prepare = "keep_freed_memory()" if setting else "startup.prepare_device('cpu')"
    command = [sys.executable, "-c", MEASURED.format(prepare=prepare)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    kept = float(done.stdout)
    with contract(glibc.keep_freed_memory):
        assert kept > 120 if setting is None else kept < 40, kept


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(
    ("widths", "kept"),
    [((0, glibc.WIDE - 1), True), ((0, glibc.WIDE), False), ((0, glibc.WIDE, 64), True)],
    ids=["narrow", "wide", "narrow after wide"],
)
def test_large_blocks_are_kept_for_narrow_models_only(widths, kept):
    variables = {key: value for key, value in os.environ.items() if key not in glibc.SETTINGS}
    prepare = "; ".join(f"keep_freed_memory({width})" for width in widths)
    command = [sys.executable, "-c", MEASURED.format(prepare=prepare)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 120) == kept, done.stdout


def test_a_family_adapts_the_allocator_to_its_model(monkeypatch):
    from dramaeval.models.families import base

    widths = []
    monkeypatch.setattr(base, "keep_freed_memory", widths.append)
    model = build_family(compose("model=tiny")).load(torch.device("cpu"))
    assert widths == [model.get_input_embeddings().weight.shape[1]]


def test_another_libc_is_not_configured(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not glibc.keep_freed_memory()
