"""Finds the runnable blocks of a documentation page and runs them in one folder, as a reader does.

A fenced block belongs to one of two kinds, named by an HTML comment in the line before it:

- ``<!-- file: NAME -->``: the block is the content of the file NAME.
- ``<!-- runnable -->``: the block is run, as shell (``bash``) or by Python (``python``). Settings after a colon, as in
  ``<!-- runnable: trainer.args.max_steps=2 -->``, are appended to each command of ``launch.py``, to shorten it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from repository import ROOT

_BLOCK = re.compile(
    r"<!-- (file|runnable)(?:: (.*?))? -->\n```(\w+)\n(.*?)\n```", re.DOTALL | re.MULTILINE
)
_LAUNCH = re.compile(r"^python launch\.py ((?:.*\\\n)*.*)$", re.MULTILINE)


class Block(NamedTuple):
    """A marked block: its kind (``file`` or ``runnable``), the text after the colon, its language and content."""

    kind: str
    argument: str
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """The marked blocks of a page, in order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def pages() -> list[Path]:
    """README and every page of the site that has a block to run."""
    written = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in written if any(block.kind == "runnable" for block in blocks_of(page))]


def run_page(page: Path, folder: Path, run_python: Callable[..., Any] | None = None) -> None:
    """Write the files of a page to a folder and run its blocks there, in order.

    Args:
        page: of the site, or README.
        folder: an empty folder.
        run_python: runs Python commands in processes that have the libraries loaded (launch_fixtures.py); None runs
            every block as a reader does.

    Raises:
        AssertionError: a block ends with another exit code than 0.
    """
    for block in blocks_of(page):
        if block.kind == "file":
            file = folder / block.argument
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text + "\n", encoding="utf-8")
            continue
        commands = _python_commands(block) if run_python else None
        if run_python and commands:
            path = {"PYTHONPATH": f"{ROOT}:{folder}", "HF_HUB_OFFLINE": "1"}
            for words in commands:
                done = run_python(*words, folder=folder, environment=path, timeout=500)
                assert done.returncode == 0, _report(page, block, done)
            continue
        done = subprocess.run(
            _command(block),
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, _report(page, block, done)


def _report(page: Path, block: Block, done: subprocess.CompletedProcess[str]) -> str:
    return f"{page.name}:\n{block.text}\n{done.stdout}\n{done.stderr}"


def _command(block: Block) -> list[str]:
    if block.language == "python":
        return [sys.executable, "-c", block.text]
    return ["bash", "-euo", "pipefail", "-c", _shell(block)]


def _shell(block: Block) -> str:
    launch = f"python {ROOT / 'launch.py'}"
    return _LAUNCH.sub(lambda found: f"{launch} {found.group(1)} {block.argument}", block.text)


def _python_commands(block: Block) -> list[list[str]] | None:
    """The arguments of each Python command of a block; None where the block needs a shell."""
    if block.language == "python":
        return [["-c", block.text]]
    lines = _shell(block).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    if any(words[:1] != ["python"] or {"|", ">", "&&"} & set(words) for words in commands):
        return None
    return [words[1:] for words in commands]


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a reader who works in ``folder``, with this Python first on the path, without the hub."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    python_path = f"{ROOT}:{folder}"
    return {**os.environ, "PATH": path, "PYTHONPATH": python_path, "HF_HUB_OFFLINE": "1"}
