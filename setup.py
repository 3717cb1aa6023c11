"""Copies ``configs/`` into the wheel as ``dramaeval/_configs``; everything else is in ``pyproject.toml``."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Builds the package together with the configuration files, which stay at the top of the repository."""

    def run(self) -> None:
        """Build; an editable install reads ``configs/`` from the checkout."""
        package = Path(self.build_lib, "dramaeval")
        shutil.rmtree(
            package, ignore_errors=True
        )  # an earlier build may hold modules of other names
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", package / "_configs")


setup(cmdclass={"build_py": BuildWithConfigs})
