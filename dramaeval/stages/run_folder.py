"""The run folder: the names of its files, and the check that a resumed run has the same settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
    is_listed,
    matches,
    read_manifest,
    seal,
    write_listed,
)
from dramaeval.data.saved_settings import read_settings

log = logging.getLogger(__name__)

#: Settings that may differ when a run is resumed: they do not change its results.
MAY_DIFFER = (
    "plan",
    "plan_force",
    *("plan_device", "plan_gpus", "plan_memory_gib"),
    *(
        f"evaluation.{key}"
        for key in EvaluationConfig.__dataclass_fields__
        if key != "group_by"  # every prediction holds it
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
#: Further ones if batch.global is set, which fixes the clips of a step.
MAY_DIFFER_WITH_GLOBAL_BATCH = (
    "processes",
    "batch.per_device",
    f"trainer.args.{PER_DEVICE}",
    f"trainer.args.{ACCUMULATION}",
)


class RunFolder:
    """The paths in a run folder.

    Args:
        path: the run folder.

    Attributes:
        config: the resolved configuration; Hydra keeps the unresolved one in ``.hydra/``.
        environment: versions, commit, hardware and seed.
        log: the log.
        tensorboard: the training curves.
        debug: the first batch and a profile, of ``debug=true``.
        prepared: the questions and answers of ``stages=[prepare]``, one file for each split.
        checkpoints: the checkpoints from which training resumes.
        model: the trained adapter or full model, with its processor.
        export: the adapter or the merged model, for use elsewhere.
        metrics: all figures, such as ``<split>.<phase>.macro.pearson``.
        report: the report for people.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.log = path / "train.log"
        self.tensorboard = path / "tensorboard"
        self.debug = path / "debug"
        self.prepared = path / "prepared"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.export = path / "export"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"

    def predictions(self, phase: str) -> Path:
        """The predictions of a phase: ``predictions.jsonl`` for the final one, else ``predictions.<phase>.jsonl``."""
        name = "predictions.jsonl" if phase == "final" else f"predictions.{phase}.jsonl"
        return self.path / name

    @property
    def has_work(self) -> bool:
        """Whether the folder holds results that a resumed run would keep."""
        kept = [*self.checkpoints.glob("checkpoint-*"), *self.path.glob("predictions*.jsonl")]
        kept += self.path.glob("controls/*.json*")
        return bool(kept) or self.model.is_dir() or self.export.is_dir()

    def open(self, config: DictConfig) -> None:
        """Write the configuration, after comparing it with that of the results in the folder.

        Raises:
            ConfigError: the folder holds results of another configuration.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            read_manifest(self.path)
        except DamagedFileError as error:
            log.warning("%s: %s. Only the form of the files is checked.", self.path, error)
        new = saved_form(config)
        if self.has_work and (self.config.is_file() or is_listed(self.config)):
            old = self._saved_settings(as_yaml(config), new)
            further = (
                MAY_DIFFER_WITH_GLOBAL_BATCH if OmegaConf.select(config, "batch.global") else ()
            )
            if changed := _differences(old, new, (*MAY_DIFFER, *further)):
                more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
                raise ConfigError(
                    [
                        f"{self.path} holds a run of another configuration ({'; '.join(changed[:5])}{more}). "
                        "Resume it with the settings it was started with, or choose another folder with "
                        "hydra.run.dir=…"
                    ]
                )
        write_listed(self.config, as_yaml(config))
        if is_listed(self.path / ".hydra" / "config.yaml"):
            seal(self.path / ".hydra")  # in a sweep's run folder Hydra has just written other files

    def _saved_settings(self, text: str, new: Any) -> Any:
        """The settings of the results in the folder.

        Args:
            text: the new settings as they would be saved. If the old file is damaged, they are compared with
                its hash.
            new: the new settings.

        Raises:
            ConfigError: the file is damaged, and the new settings are not the same.
        """
        try:
            return OmegaConf.to_container(read_settings(self.config))
        except (DamagedFileError, FileNotFoundError) as error:
            damage = str(error)
        if matches(self.config, text):
            log.warning("%s The new settings are the same, so it is written again.", damage)
            return new
        raise ConfigError(
            [
                f"{damage} It holds the settings of the results in this folder, and the new settings differ "
                "from them. Start the run again with exactly the settings that it was started with, or "
                "choose another folder with hydra.run.dir=…"
            ]
        )


def saved_form(config: DictConfig) -> Any:
    """A configuration in plain values: resolved, secrets masked."""
    return masked(OmegaConf.to_container(config, resolve=True, enum_to_str=True))


def as_yaml(config: DictConfig) -> str:
    """The text of ``config.yaml``, which reports show too."""
    return OmegaConf.to_yaml(OmegaConf.create(literal(saved_form(config))), resolve=True)


def _differences(old: Any, new: Any, may_differ: Sequence[str], key: str = "") -> list[str]:
    """The settings that two configurations have differently, as ``key: old → new``."""
    if key in may_differ:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{key}: {old} → {new}"]
    old, new = ({str(name): value for name, value in side.items()} for side in (old, new))
    return [
        difference
        for name in sorted({*old, *new})
        for difference in _differences(
            old.get(name), new.get(name), may_differ, f"{key}.{name}" if key else name
        )
    ]
