"""What a process does that was forked with the libraries in it; see tests/whole_runs/conftest.py."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from repository import ROOT


def launch(words: Sequence[str], said: str) -> None:
    """Run launch.py as ``python launch.py WORDS`` does, with what it says in the files ``out`` and ``err``."""
    for number, name in ((1, "out"), (2, "err")):
        with (Path(said) / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(ROOT)
    sys.argv = ["launch.py", *words]
    # As Python has it for a script: beside it, and not beside the tests.
    sys.path[:] = [str(ROOT), *(one for one in sys.path if not one.startswith(str(ROOT / "tests")))]
    runpy.run_path("launch.py", run_name="__main__")
