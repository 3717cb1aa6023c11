"""The configuration without a command line: composed from the same files as launch.py composes it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config import schema
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError


def config_folder() -> Path:
    """The folder of launch.yaml and the config groups: inside an installed package, else beside it in a checkout."""
    installed = schema.PACKAGE / "configs"
    return installed if installed.is_dir() else schema.PACKAGE.parent / "configs"


def compose(*overrides: str) -> DictConfig:
    """Compose ``configs/launch.yaml`` with overrides as they stand on the command line.

    Raises:
        ConfigError: the installation is incomplete.
    """
    import hydra

    folder = config_folder()
    if not (folder / "launch.yaml").is_file():
        raise ConfigError(
            [f"{folder} is missing: install dramaeval again with pip install dramaeval."]
        )
    schema.register()
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        return hydra.compose("launch", overrides=list(overrides))


def chosen_files(group: str) -> list[Path]:
    """The files that this Hydra job chose from a config group, for whatever package; none outside of a job."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    runtime = HydraConfig.get().runtime
    names = {str(name) for key, name in runtime.choices.items() if key.partition("@")[0] == group}
    folders = [Path(one.path) for one in runtime.config_sources if one.schema == "file"]
    files = (folder / group / f"{name}.yaml" for folder in folders for name in sorted(names))
    return [file for file in files if file.is_file()]


def compose_model(name: str) -> DictConfig:
    """The default configuration with the judge of a name in ``configs/model/``, a folder or a name on the hub.

    A folder or a name on the hub is taken as Qwen2-Audio, and is never read as an override's syntax.

    Raises:
        ConfigError: as `compose`.
    """
    if name in choices("model"):
        return compose(f"model={name}")
    config = compose("model=qwen2_audio")
    config.model.path = literal(name)
    return config


def choices(group: str) -> list[str]:
    """The names that a config group offers."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))
