"""ruff and mypy find no problem in any file."""

import subprocess
import sys

import pytest
from repository import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_the_style_check_finds_no_problem(words):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
