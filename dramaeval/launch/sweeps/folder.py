"""The folder of a sweep: ``multirun.yaml`` with the sweep's settings, and a folder for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dramaeval.config import registration, secrets
from dramaeval.config.config_folder import command_name
from dramaeval.config.inheritance import inherit
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.data.manifest import DamagedFileError, damage_of, read_sealed, write_listed
from dramaeval.data.saved_settings import read_settings
from dramaeval.launch.sweeps.signature import sign, unsigned
from dramaeval.launch.sweeps.state import write_sealed
from dramaeval.stages.command_check import unknown_arguments

#: The setting that selects another folder, for messages.
CHOOSE = "hydra.sweep.dir=…"
#: The files with the settings of a sweep and of a run, which can name code; a resumed sweep uses them.
OF_SWEEP, OF_RUN = ("multirun.yaml",), ("config.yaml", "hydra.yaml")


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        number: its index in the sweep, from 0.
        id: the short id of its configuration.
        folder: its folder, an absolute path.
        overrides: the overrides on the command line, as ``key=value``.
        problem: the reason why ``run.json`` (number, id and overrides) cannot be read; None if it can be read.
    """

    number: int
    id: str
    folder: Path
    overrides: tuple[str, ...]
    problem: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The values of the overrides by key; a key keeps its prefix (``+``, ``~``)."""
        pairs = [override.partition("=") for override in self.overrides]
        return {key: value for key, _, value in pairs}


class SweepFolder:
    """The folder of a sweep.

    Args:
        path: the folder, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def runs(self) -> list[SweepRun]:
        """The runs whose folders exist, by number."""
        runs = [_read_run(file.parent) for file in self.path.glob("*/run.json")]
        return sorted(runs, key=lambda run: run.number)

    def master(self) -> DictConfig:
        """The configuration that the sweep was started with, including Hydra's node.

        Raises:
            ConfigError: the folder holds no sweep.
            DamagedFileError: ``multirun.yaml`` is damaged.
        """
        self.require()
        return read_settings(self.path / "multirun.yaml")

    def require(self) -> None:
        """Check that the folder holds a sweep.

        Raises:
            ConfigError: it has no ``multirun.yaml``.
        """
        if not (self.path / "multirun.yaml").is_file():
            raise ConfigError(
                f"sweep={self.path} holds no sweep: give a folder with a multirun.yaml, which "
                f"{command_name()} -m … writes."
            )

    def _signed_files(self) -> list[tuple[Path, tuple[str, ...]]]:
        """The folders with signatures, and the names of the signed files in each."""
        runs = [(run.parent / ".hydra", OF_RUN) for run in self.path.glob("*/run.json")]
        return [(self.path, OF_SWEEP), *runs]

    def unsigned(self) -> list[Path]:
        """The files with settings of the sweep and its runs that this account has not signed."""
        return [file for folder, names in self._signed_files() for file in unsigned(folder, names)]

    def sign(self) -> None:
        """Sign the current settings of the sweep and its runs."""
        for folder, names in self._signed_files():
            sign(folder, names)

    def add(
        self,
        context: HydraContext,
        master: DictConfig,
        jobs: Sequence[Sequence[str]],
        first: int,
    ) -> list[SweepRun]:
        """Compose the configurations of runs and create their folders; see `compose`."""
        configs = self.compose(context, master, jobs, first)
        self.write_master(master)
        for run, config in configs.items():
            _write(config, run)
        return list(configs)

    def compose(
        self,
        context: HydraContext,
        master: DictConfig,
        jobs: Sequence[Sequence[str]],
        first: int,
    ) -> dict[SweepRun, DictConfig]:
        """Compose the configurations of runs, with Hydra's node; nothing is written.

        Args:
            master: the sweep's configuration.
            jobs: the overrides of each run.
            first: the number of the first run.

        Raises:
            ConfigError: a setting holds a secret, or several runs would share a folder.
        """
        configs = [
            _compose(context, master, list(job), number) for number, job in enumerate(jobs, first)
        ]
        try:
            for config in configs:
                secrets.refuse(without_hydra(config), config.hydra)
        except ConfigError:
            # Hydra's own sweeper, or an earlier batch of a search, has written the file.
            if (self.path / "multirun.yaml").is_file():
                secrets.mask_hydra_files(without_hydra(master), master.hydra)
            raise
        unknown = [text for config in configs for text in unknown_arguments(without_hydra(config))]
        if unknown:
            raise ConfigError(list(dict.fromkeys(unknown)))
        folders = [Path(config.hydra.runtime.output_dir) for config in configs]
        if len(set(folders)) < len(folders) or {folder.parent for folder in folders} != {self.path}:
            raise ConfigError(
                "hydra.sweep.subdir must be the name of a single folder that differs between the runs: leave "
                "it out, or include ${hydra:job.num}."
            )
        return {
            SweepRun(
                number=int(config.hydra.job.num),
                id=run_id(inherit(config)),
                folder=folder,
                overrides=tuple(map(str, config.hydra.overrides.task)),
            ): config
            for config, folder in zip(configs, folders, strict=True)
        }

    def write_master(self, master: DictConfig) -> None:
        """Write and sign ``multirun.yaml``; nothing is masked, because resumed runs are composed from it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_listed(self.path / "multirun.yaml", OmegaConf.to_yaml(master))
        sign(self.path, OF_SWEEP)


def _compose(
    context: HydraContext, master: DictConfig, overrides: list[str], number: int
) -> DictConfig:
    """Compose a run's configuration with Hydra's node, as Hydra's launchers do."""
    setup_globals()
    # ``launch`` holds settings of the sweep, not of its runs.
    overrides = [word for word in overrides if not word.lstrip("+").startswith("launch.")]
    config = context.config_loader.load_sweep_config(master, overrides)
    with open_dict(config), read_write(config.hydra.runtime):
        config.hydra.job.id = config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    folder = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).absolute()
    with open_dict(config), read_write(config.hydra.runtime):
        config.hydra.runtime.output_dir = literal(str(folder))
    return config


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy of a configuration without Hydra's node."""
    settings = config.copy()
    with open_dict(settings), read_write(settings):
        del settings["hydra"]
    return settings


def _write(config: DictConfig, run: SweepRun) -> None:
    """Create a run's folder with the files that Hydra writes for a single run, and with ``run.json``."""
    texts = {
        "config": OmegaConf.to_yaml(without_hydra(config)),
        "hydra": OmegaConf.to_yaml(OmegaConf.masked_copy(config, "hydra")),
        "overrides": OmegaConf.to_yaml(list(run.overrides)),
    }
    (run.folder / ".hydra").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_listed(run.folder / ".hydra" / f"{name}.yaml", text)
    sign(run.folder / ".hydra", OF_RUN)
    write_run(run)


def write_run(run: SweepRun) -> None:
    """Write a run's number, id and overrides to ``run.json`` in its folder."""
    values = {"number": run.number, "id": run.id, "overrides": list(run.overrides)}
    write_sealed(run.folder / "run.json", values)


def _read_run(folder: Path) -> SweepRun:
    """Read ``run.json`` in a folder; if it is damaged, use the folder's name and Hydra's file of overrides."""
    try:
        values = read_sealed(folder / "run.json", ("number", "id", "overrides"))
        overrides = tuple(values["overrides"])
        return SweepRun(int(values["number"]), str(values["id"]), folder, overrides)
    except (DamagedFileError, KeyError, TypeError, ValueError) as error:
        problem = str(error) if isinstance(error, DamagedFileError) else "run.json is damaged"
    number, _, identifier = folder.name.partition("-")
    return SweepRun(
        number=int(number) if number.isdecimal() else 0,
        id=identifier,
        folder=folder,
        overrides=_read_overrides(folder / ".hydra" / "overrides.yaml"),
        problem=problem,
    )


def _read_overrides(file: Path) -> tuple[str, ...]:
    """The overrides in Hydra's file; empty if it is absent or damaged."""
    try:
        words = yaml.safe_load(file.read_text(encoding="utf-8")) if not damage_of(file) else []
    except (OSError, ValueError, yaml.YAMLError):
        return ()
    return tuple(map(str, words)) if isinstance(words, list) else ()


def load_config(folder: Path) -> DictConfig:
    """The configuration in a run's ``.hydra/``, with the types of the schema; ``${hydra:…}`` can be resolved after it.

    Raises:
        DamagedFileError: a file is damaged.
    """
    registration.register()
    setup_globals()
    hydra = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    OmegaConf.set_struct(hydra.hydra, False)  # plugins add their own keys
    hydra.merge_with(read_settings(folder / ".hydra" / "hydra.yaml"))
    HydraConfig.instance().set_config(hydra)
    settings = read_settings(folder / ".hydra" / "config.yaml")
    return cast(DictConfig, OmegaConf.merge(registration.root(), settings))
