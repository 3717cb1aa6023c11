"""Whole runs: launch.py in a process of its own, with the network shut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

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
def launch(surroundings: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run launch.py to its end and return what it said."""

    def start(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "launch.py", *words],
            cwd=ROOT,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return start


@pytest.fixture
def read_metrics() -> Callable[[Path], dict[str, Any]]:
    """The metrics.json of a run folder."""
    return lambda folder: json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
