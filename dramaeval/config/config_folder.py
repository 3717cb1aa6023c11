"""Where the configuration files are: in an installed wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def config_folder() -> Path:
    """The folder of ``launch.yaml`` and the config groups.

    ``setup.py`` copies ``configs/`` into the wheel as ``dramaeval/_configs``. A checkout and an editable install
    have no such copy.
    """
    installed = _PACKAGE / "_configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"
