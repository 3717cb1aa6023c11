"""Find the runnable blocks of a documentation page and run them in one folder, as a reader does.

A fenced block belongs to one of two kinds, named by an HTML comment in the line before it:

- ``<!-- file: NAME -->``: the block is the content of the file NAME.
- ``<!-- runnable -->``: the block is run, as shell (``bash``) or by Python (``python``). Settings after a colon, as in
  ``<!-- runnable: trainer.args.max_steps=2 -->``, are appended to each command of ``launch.py``, to shorten it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

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


def run_page(page: Path, folder: Path) -> None:
    """Write the files of a page to a folder and run its blocks there, in order.

    Raises:
        AssertionError: a block ends with another exit code than 0.
    """
    for block in blocks_of(page):
        if block.kind == "file":
            file = folder / block.argument
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text + "\n", encoding="utf-8")
            continue
        done = subprocess.run(
            _command(block, folder),
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, f"{page.name}:\n{block.text}\n{done.stdout}\n{done.stderr}"


def _command(block: Block, folder: Path) -> list[str]:
    if block.language == "python":
        return [sys.executable, "-c", block.text]
    launch = f"python {ROOT / 'launch.py'}"
    script = _LAUNCH.sub(lambda found: f"{launch} {found.group(1)} {block.argument}", block.text)
    return ["bash", "-euo", "pipefail", "-c", script]


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a reader who works in ``folder``, with this Python first on the path, without the hub."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    python_path = f"{ROOT}:{folder}"
    return {**os.environ, "PATH": path, "PYTHONPATH": python_path, "HF_HUB_OFFLINE": "1"}
