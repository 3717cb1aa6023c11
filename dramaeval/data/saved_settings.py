"""Reads the settings that a run has saved."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dramaeval.config.renamed_targets import with_current_targets
from dramaeval.data.manifest import DamagedFileError, damage_of

_SHOWN = 200


def read_settings(file: Path) -> DictConfig:
    """Read a YAML file of settings; old names of classes are replaced by the current ones.

    Raises:
        DamagedFileError: the file has other content than was written, or is not YAML with settings.
        FileNotFoundError: the file does not exist.
    """
    if damage := damage_of(file):
        raise DamagedFileError(f"{file.parent}: {damage}. Restore it from a copy.")
    try:
        settings = OmegaConf.load(file)
    except (ValueError, YAMLError) as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        raise DamagedFileError(f"{file} is damaged: {reason}. Restore it from a copy.") from None
    if not isinstance(settings, DictConfig):
        raise DamagedFileError(f"{file} is damaged: it holds no settings. Restore it from a copy.")
    # Not resolved: some interpolations refer to Hydra's own settings.
    return OmegaConf.create(with_current_targets(OmegaConf.to_container(settings)))
