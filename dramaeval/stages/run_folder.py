"""The run folder: the one place that holds all of a run, enough to repeat, resume or judge it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.batch_size import ACCUMULATION, PER_DEVICE
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import EvaluationConfig
from dramaeval.config.secrets import masked
from dramaeval.data.manifest import (
    DamagedFileError,
    damage_in,
    is_listed,
    matches,
    read_manifest,
    seal,
    set_aside,
    write_listed,
)
from dramaeval.data.saved_settings import read_settings
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes

log = logging.getLogger(__name__)

#: Settings that may differ when a run is resumed: they do not change what is computed.
HARMLESS = (
    "plan",
    "plan_force",
    *(
        f"evaluation.{key}"
        for key in EvaluationConfig.__dataclass_fields__
        if key != "group_by"  # is kept with every prediction
    ),
    "report",
    "runs",
    "task.data.workers",
    "batch.cache_clips",
    "logger",
    "debug",
    "hydra",
    "launch",
    "sweep",
    "resume",
)
#: Nor do these where batch.global fixes what a step is made of.
SAME_STEP = (
    "processes",
    "batch.per_device",
    f"trainer.args.{PER_DEVICE}",
    f"trainer.args.{ACCUMULATION}",
)


@dataclass(frozen=True)
class RunFolder:
    """Names of everything in a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; Hydra keeps the raw one in ``.hydra/``."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, commit, hardware and seed."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """Everything that was said."""
        return self.path / "train.log"

    @property
    def tensorboard(self) -> Path:
        """Curves."""
        return self.path / "tensorboard"

    @property
    def debug(self) -> Path:
        """What ``debug=true`` adds: the first batch, a profile."""
        return self.path / "debug"

    @property
    def prepared(self) -> Path:
        """The questions and answers that ``stages=[prepare]`` writes, a file a split."""
        return self.path / "prepared"

    @property
    def checkpoints(self) -> Path:
        """Where training can be taken up again."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The result: an adapter or a full model, with its processor."""
        return self.path / "model"

    @property
    def export(self) -> Path:
        """The adapter or the merged model, for others to use."""
        return self.path / "export"

    @property
    def metrics(self) -> Path:
        """``<split>.<phase>.macro.pearson`` and all the rest."""
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    def predictions(self, phase: str) -> Path:
        """What the judge said: ``predictions.jsonl`` for the final phase, else named after it."""
        name = "predictions.jsonl" if phase == "final" else f"predictions.{phase}.jsonl"
        return self.path / name

    @property
    def has_work(self) -> bool:
        """Whether there is anything that a resumed run would take over."""
        kept = [*self.checkpoints.glob("checkpoint-*"), *self.path.glob("predictions*.jsonl")]
        kept += self.path.glob("controls/*.json*")
        return bool(kept) or self.model.is_dir() or self.export.is_dir()

    def open(self, config: DictConfig) -> None:
        """Take possession of the folder, or take up the run that is in it.

        Raises:
            ConfigError: the folder holds a run of another configuration.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            read_manifest(self.path)
        except DamagedFileError as error:
            log.warning("%s: %s. Files are checked by their form alone.", self.path, error)
        new = saved_form(config)
        if self.has_work and (self.config.is_file() or is_listed(self.config)):
            old = self._saved_settings(as_yaml(config), new)
            same_step = SAME_STEP if OmegaConf.select(config, "batch.global") else ()
            changed = _differences(old, new, (*HARMLESS, *same_step))
            if changed:
                listed = "; ".join(changed[:5]) + (
                    f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
                )
                raise ConfigError(
                    [
                        f"{self.path} holds a run of another configuration ({listed}). Resume it with the "
                        "settings it was started with, or choose another folder with hydra.run.dir=…"
                    ]
                )
        write_listed(self.config, as_yaml(config))
        if is_listed(self.path / ".hydra" / "config.yaml"):
            seal(self.path / ".hydra")  # in a sweep's run folder Hydra has just written other files

    def _saved_settings(self, text: str, new: Any) -> Any:
        """The settings that the folder's work was done with.

        Args:
            text: the new ones as they would be saved; where the old file is damaged, its hash tells whether
                they are the same.
            new: the new ones.

        Raises:
            ConfigError: the file is damaged, and the new settings are not the same.
        """
        try:
            return OmegaConf.to_container(read_settings(self.config))
        except (DamagedFileError, FileNotFoundError) as error:
            damage = str(error)
        if matches(self.config, text):
            log.warning("%s The settings given now are the same, so it is written anew.", damage)
            return new
        raise ConfigError(
            [
                f"{damage} It holds the settings of the work in this folder, and those given now are other "
                "ones. Start the run again with exactly the settings that it was started with, or "
                "choose another folder with hydra.run.dir=…"
            ]
        )


def saved_form(config: DictConfig) -> Any:
    """A configuration as it may be shown: resolved, in plain values, secrets masked."""
    return masked(OmegaConf.to_container(config, resolve=True, enum_to_str=True))


def as_yaml(config: DictConfig) -> str:
    """A configuration as it is saved in ``config.yaml`` and shown in reports."""
    return OmegaConf.to_yaml(OmegaConf.create(literal(saved_form(config))), resolve=True)


def is_complete(folder: Path) -> bool:
    """Whether a folder was filled before; one that is damaged is set aside, so that it is made again."""
    if not folder.is_dir():
        return False
    if damage := damage_in(folder):
        aside = set_aside(folder)
        log.warning(
            "%s is damaged: %s. It is made again; what is left of it is in %s.",
            folder,
            "; ".join(damage),
            aside.name,
        )
        return False
    return True


def write_folder_atomic(
    folder: Path, fill: Callable[[Path], None], processes: Processes = SINGLE_PROCESS
) -> None:
    """Fill a folder so that it is there complete, with its manifest, or not at all; all processes take part."""
    unfinished = folder.with_name(folder.name + ".unfinished")

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()  # not its parents: a run folder that was deleted stays so

    def end() -> None:
        seal(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)

    processes.on_rank_zero(begin)
    fill(unfinished)
    processes.barrier()
    processes.on_rank_zero(end)


def _differences(old: Any, new: Any, harmless: Sequence[str], key: str = "") -> list[str]:
    """Keys at which two configurations differ, as ``key: old → new``."""
    if key in harmless:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted({str(name) for name in [*old, *new]}):
            both = [{str(k): v for k, v in side.items()}.get(name) for side in (old, new)]
            found += _differences(both[0], both[1], harmless, f"{key}.{name}" if key else name)
        return found
    return [] if old == new else [f"{key}: {old} → {new}"]
