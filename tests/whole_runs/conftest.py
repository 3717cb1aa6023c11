"""Whole runs: launch.py in processes of their own, with the network shut."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.context
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import born
import pytest

#: Imported once, with all that they import in turn.
LIBRARIES = [
    "dramaeval.run.entry",
    "dramaeval.run.training",
    "dramaeval.run.evaluating",
    "dramaeval.training.sft",
    "dramaeval.training.grpo",
    "transformers.models.qwen2_audio.modeling_qwen2_audio",
]
# Imported by every Python that finds it on its path: nothing but this machine can be reached.
SHUT = """
import socket
_connect = socket.socket.connect
def _only_here(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise SystemExit(f"the run tried to reach {address}")
    return _connect(self, address)
socket.socket.connect = _only_here
"""


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a run without a network."""
    shut = tmp_path_factory.mktemp("shut")
    (shut / "sitecustomize.py").write_text(SHUT, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(shut)}


@pytest.fixture(scope="session")
def nursery(surroundings: dict[str, str]) -> multiprocessing.context.ForkServerContext:
    """Starts processes that have the libraries already: importing them is most of the time of a short run.

    Runs whose start itself matters (killed ones, torchrun, --help, the README's commands) start Python anew.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in surroundings.items():
            patched.setenv(name, value)
        first = context.Process(target=int)  # the server is started by its first process
        first.start()
        first.join()
    return context


@pytest.fixture(scope="session")
def launch(
    nursery: multiprocessing.context.ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run launch.py to its end and return what it said."""
    said = tmp_path_factory.mktemp("said")

    def start(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        process = nursery.Process(target=born.launch, args=(words, str(said)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(words), timeout)
        out, err = ((said / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(list(words), process.exitcode, out, err)

    return start


@pytest.fixture
def read_metrics() -> Callable[[Path], dict[str, Any]]:
    """The metrics.json of a run folder."""
    return lambda folder: json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
