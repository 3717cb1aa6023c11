"""Composes the configuration without a command line, from the same files as launch.py."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dramaeval.config import registration
from dramaeval.config.config_folder import config_folder
from dramaeval.config.literal import literal


def compose(*overrides: str, with_hydra: bool = False) -> DictConfig:
    """Compose ``configs/launch.yaml`` with overrides in the syntax of the command line, such as ``task=role``.

    With ``with_hydra`` the result has Hydra's node, as a configuration of the command line.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    registration.register()
    running = GlobalHydra.instance().hydra  # a command line's; Hydra allows one at a time
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(
            str(config_folder()), job_name="launch", version_base="1.3"
        ):
            return hydra.compose(
                "launch", overrides=list(overrides), return_hydra_config=with_hydra
            )
    finally:
        GlobalHydra.instance().hydra = running


def chosen_files(group: str) -> list[Path]:
    """The files of a config group that this Hydra job is composed from; none outside a job."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    runtime = HydraConfig.get().runtime
    if OmegaConf.is_missing(runtime, "config_sources"):  # Hydra's node is set, but no job runs
        return []
    names = {str(name) for key, name in runtime.choices.items() if key.partition("@")[0] == group}
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    files = (folder / group / f"{name}.yaml" for folder in folders for name in sorted(names))
    return [file for file in files if file.is_file()]


def compose_model(name: str) -> DictConfig:
    """Compose the default configuration with another model.

    Args:
        name: the name of a file in ``configs/model/``, a folder, or a name on the hub. The latter two are loaded
            as Qwen2-Audio and are never parsed as an override.
    """
    if name in choices("model"):
        return compose(f"model={name}")
    config = compose("model=qwen2_audio")
    config.model.path = literal(name)
    return config


def choices(group: str) -> list[str]:
    """The names that a config group offers."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))
