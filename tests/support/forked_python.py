"""Runs a Python command in a forked process that has the libraries loaded; used by launch_fixtures.py."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from repository import ROOT


def run(
    words: Sequence[str],
    output: str,
    folder: str,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run ``python WORDS`` in a folder, with its output in the files ``out`` and ``err`` of the folder ``output``.

    Args:
        words: ``script.py …``, ``-m module …`` or ``-c code``.
        output: an existing folder.
        folder: the working folder.
        environment: added to that of the process.
    """
    for number, name in ((1, "out"), (2, "err")):
        with (Path(output) / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.update(environment or {})
    # The same search path as in a new Python: first the folder of the script or the working folder, and no test folder.
    tests = str(ROOT / "tests")
    others = [path for path in sys.path if not path.startswith(tests) and path != str(ROOT)]
    searched = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    first = str(Path(words[0]).resolve().parent) if not words[0].startswith("-") else os.getcwd()
    sys.path[:] = [first, *searched, *others, str(ROOT)]
    if words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c"]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")
