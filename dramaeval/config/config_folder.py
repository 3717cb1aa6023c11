"""The paths and names that depend on the installation: the configuration folder and the command."""

from __future__ import annotations

from pathlib import Path

from dramaeval.config.schema import PACKAGE

_INSTALLED = PACKAGE / "_configs"


def config_folder() -> Path:
    """The folder of ``launch.yaml`` and the config groups.

    ``setup.py`` copies ``configs/`` into the wheel as ``dramaeval/_configs``. A checkout and an editable install
    have no such copy.
    """
    return _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent / "configs"


def command_name() -> str:
    """The command in messages: ``dramaeval`` from a wheel, ``python launch.py`` in a checkout."""
    return "dramaeval" if _INSTALLED.is_dir() else "python launch.py"
