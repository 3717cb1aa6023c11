"""A sweep's folder: one folder a run inside it, and the settings that all came from in ``multirun.yaml``."""

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
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.data.manifest import (
    DamagedFileError,
    damage_of,
    read_sealed,
    write_listed,
)
from dramaeval.data.saved_settings import read_settings
from dramaeval.launch.sweeps.signature import sign, unsigned
from dramaeval.launch.sweeps.state import write_sealed

#: The setting that names another folder for a sweep.
CHOOSE = "hydra.sweep.dir=…"
#: The settings that a sweep and a run of it are resumed with: both can name what is run.
OF_SWEEP, OF_RUN = ("multirun.yaml",), ("config.yaml", "hydra.yaml")


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        number: its place in the sweep, from 0.
        id: the short id of its configuration.
        folder: absolute.
        overrides: as they were given on the command line, ``key=value``.
        problem: why the file that holds the number, the id and the overrides cannot be read; None where it can.
    """

    number: int
    id: str
    folder: Path
    overrides: tuple[str, ...]
    problem: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The overrides by key; a key's marks (``+``, ``~``) stay on it."""
        pairs = [one.partition("=") for one in self.overrides]
        return {key: value for key, _, value in pairs}

    def config(self) -> DictConfig:
        """The run's configuration as it was composed, with the types of the schema."""
        return load_config(self.folder)


class SweepFolder:
    """A sweep's folder.

    Args:
        path: of the folder; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def runs(self) -> list[SweepRun]:
        """The runs whose folders are there, by number."""
        found = [_described_in(file.parent) for file in self.path.glob("*/run.json")]
        return sorted(found, key=lambda run: run.number)

    def master(self) -> DictConfig:
        """The configuration that the sweep was started with, Hydra's part included.

        Raises:
            ConfigError: the folder holds no sweep.
        """
        self.require()
        return read_settings(self.path / "multirun.yaml")

    def require(self) -> None:
        """Stop where the folder holds no sweep.

        Raises:
            ConfigError: it has no ``multirun.yaml``.
        """
        if not (self.path / "multirun.yaml").is_file():
            raise ConfigError(
                [
                    f"sweep={self.path} holds no sweep: give a folder with a multirun.yaml, which "
                    f"{command_name()} -m … writes."
                ]
            )

    def unsigned(self) -> list[Path]:
        """The settings of the sweep and its runs that this account did not write as they are now."""
        of_runs = [
            file
            for run in self.path.glob("*/run.json")
            for file in unsigned(run.parent / ".hydra", OF_RUN)
        ]
        return [*unsigned(self.path, OF_SWEEP), *of_runs]

    def sign(self) -> None:
        """Take the settings of the sweep and its runs for this account's own from now on."""
        sign(self.path, OF_SWEEP)
        for run in self.path.glob("*/run.json"):
            sign(run.parent / ".hydra", OF_RUN)

    def _keep(self, master: DictConfig) -> None:
        """Make the folder and keep what the sweep was started with."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_listed(self.path / "multirun.yaml", OmegaConf.to_yaml(master))
        sign(self.path, OF_SWEEP)

    def add(
        self,
        context: HydraContext,
        master: DictConfig,
        jobs: Sequence[Sequence[str]],
        first: int,
        *,
        write: bool = True,
    ) -> list[SweepRun]:
        """Compose the runs and make their folders.

        Args:
            context: Hydra's.
            master: the sweep's configuration.
            jobs: the overrides of each run.
            first: the number of the first run.
            write: false only to see what the runs would be.

        Raises:
            ConfigError: a setting holds a secret, or several runs would share a folder.
        """
        configs = [
            _composed(context, master, list(job), first + place) for place, job in enumerate(jobs)
        ]
        try:
            for config in configs:
                secrets.refuse(_task(config), config.hydra)
        except ConfigError:
            # Hydra's own sweeper has written it by now; ours have not.
            if (self.path / "multirun.yaml").is_file():
                secrets.mask_hydra_files(_task(master), master.hydra)
            raise
        folders = [Path(config.hydra.runtime.output_dir) for config in configs]
        if len(set(folders)) < len(folders) or {one.parent for one in folders} != {self.path}:
            raise ConfigError(
                [
                    "hydra.sweep.subdir must be the name of one folder, and another for each run: leave it as "
                    "it is, or give it ${hydra:job.num}."
                ]
            )
        runs = [_described(config) for config in configs]
        if write:
            self._keep(master)
            for config, run in zip(configs, runs, strict=True):
                _write(config, run)
        return runs


def _composed(
    context: HydraContext, master: DictConfig, overrides: list[str], number: int
) -> DictConfig:
    """A run's configuration with Hydra's part, as Hydra's own launchers compose it."""
    setup_globals()
    # How the sweep is sent off is no setting of its runs.
    overrides = [one for one in overrides if not one.lstrip("+").startswith("launch.")]
    config = context.config_loader.load_sweep_config(master, overrides)
    with open_dict(config), read_write(config.hydra.runtime):
        config.hydra.job.id = config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    folder = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).absolute()
    with open_dict(config), read_write(config.hydra.runtime):
        config.hydra.runtime.output_dir = literal(str(folder))
    return config


def _task(config: DictConfig) -> DictConfig:
    task = config.copy()
    with open_dict(task), read_write(task):
        del task["hydra"]
    return task


def _described(config: DictConfig) -> SweepRun:
    return SweepRun(
        number=int(config.hydra.job.num),
        id=run_id(config),
        folder=Path(config.hydra.runtime.output_dir),
        overrides=tuple(str(one) for one in config.hydra.overrides.task),
    )


def _write(config: DictConfig, run: SweepRun) -> None:
    """Make a run's folder, with what Hydra would put there and what the sweep's table needs."""
    overrides = list(run.overrides)
    texts = {
        "config": OmegaConf.to_yaml(_task(config)),
        "hydra": OmegaConf.to_yaml(OmegaConf.masked_copy(config, "hydra")),
        "overrides": OmegaConf.to_yaml(overrides),
    }
    (run.folder / ".hydra").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_listed(run.folder / ".hydra" / f"{name}.yaml", text)
    sign(run.folder / ".hydra", OF_RUN)
    describe(run)


def describe(run: SweepRun) -> None:
    """Write a run's number, id and overrides into its folder."""
    about = {"number": run.number, "id": run.id, "overrides": list(run.overrides)}
    write_sealed(run.folder / "run.json", about)


def _described_in(folder: Path) -> SweepRun:
    """The run in a folder; where its description is damaged, what else tells of it."""
    try:
        about = read_sealed(folder / "run.json", ("number", "id", "overrides"))
        return SweepRun(int(about["number"]), str(about["id"]), folder, tuple(about["overrides"]))
    except (DamagedFileError, KeyError, TypeError, ValueError) as error:
        problem = str(error) if isinstance(error, DamagedFileError) else "run.json is damaged"
    number, _, identity = folder.name.partition("-")
    return SweepRun(
        number=int(number) if number.isdecimal() else 0,
        id=identity,
        folder=folder,
        overrides=_overrides_in(folder / ".hydra" / "overrides.yaml"),
        problem=problem,
    )


def _overrides_in(file: Path) -> tuple[str, ...]:
    """The overrides that Hydra's own file holds; none where it is damaged too."""
    try:
        words = yaml.safe_load(file.read_text(encoding="utf-8")) if not damage_of(file) else []
    except (OSError, ValueError, yaml.YAMLError):
        return ()
    return tuple(map(str, words)) if isinstance(words, list) else ()


def load_config(folder: Path) -> DictConfig:
    """The configuration in a run's ``.hydra/``, typed by the schema; ``${hydra:…}`` can be resolved."""
    registration.register()
    setup_globals()
    hydra = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    OmegaConf.set_struct(hydra.hydra, False)  # plugins have put their own in
    hydra.merge_with(read_settings(folder / ".hydra" / "hydra.yaml"))
    HydraConfig.instance().set_config(hydra)
    settings = read_settings(folder / ".hydra" / "config.yaml")
    return cast(DictConfig, OmegaConf.merge(registration.root(), settings))
