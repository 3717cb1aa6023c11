"""Settings that a run has saved, read back."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dramaeval.data.manifest import DamagedFileError, damage_of

_SHOWN = 200


def read_settings(file: Path) -> DictConfig:
    """A YAML file of settings.

    Raises:
        DamagedFileError: it is not as it was written, or no YAML with settings.
        FileNotFoundError: it is not there.
    """
    if damage := damage_of(file):
        raise DamagedFileError(f"{file.parent}: {damage}. Restore it from a copy.")
    try:
        found = OmegaConf.load(file)
    except (ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise DamagedFileError(f"{file} is damaged: {reason}. Restore it from a copy.") from None
    if not isinstance(found, DictConfig):
        raise DamagedFileError(f"{file} is damaged: it holds no settings. Restore it from a copy.")
    return found
