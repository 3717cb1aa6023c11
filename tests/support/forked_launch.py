"""Runs launch.py in a forked process that has the libraries loaded; used by tests/whole_runs/conftest.py."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from repository import ROOT


def launch(words: Sequence[str], output: str) -> None:
    """Run launch.py as ``python launch.py WORDS`` does, with its output in the files ``out`` and ``err`` of a folder."""
    for number, name in ((1, "out"), (2, "err")):
        with (Path(output) / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(ROOT)
    sys.argv = ["launch.py", *words]
    # As for a script: the folder of launch.py first, no folders of the tests.
    sys.path[:] = [
        str(ROOT),
        *(path for path in sys.path if not path.startswith(str(ROOT / "tests"))),
    ]
    runpy.run_path("launch.py", run_name="__main__")
