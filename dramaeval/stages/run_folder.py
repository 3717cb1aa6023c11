"""The run folder: the names of its files, and the check that a resumed run has the same settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.batch_size import ACCUMULATION, PER_DEVICE
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import EvaluationConfig, Root
from dramaeval.config.secrets import masked
from dramaeval.data.manifest import (
    DamagedFileError,
    is_listed,
    matches,
    read_manifest,
    seal,
    write_listed,
)
from dramaeval.data.problems import cut
from dramaeval.data.saved_settings import read_settings
from dramaeval.stages import fingerprint
from dramaeval.stages.fingerprint import Fingerprint

log = logging.getLogger(__name__)

#: The largest number of characters of a value in a message.
_MOST_SHOWN = 200

#: Settings that may differ when a run is resumed, since they do not change its results.
MAY_DIFFER = (
    *("plan", "plan_force", "plan_device", "plan_gpus", "plan_memory_gib"),
    *(
        f"evaluation.{key}"
        for key in EvaluationConfig.__dataclass_fields__
        if key not in ("group_by", "keep_thoughts")  # predictions depend on these
    ),
    *("report", "runs", "task.data.workers", "batch.cache_clips", "logger", "debug", "hydra"),
    *("launch", "sweep", "resume", "output", "checkpoint_override", "from"),
    *("cache", "serve", "leaderboard", "export"),
)
#: Further settings that may differ if batch.global is set, which fixes the number of clips per step.
MAY_DIFFER_WITH_GLOBAL_BATCH = (
    "processes",
    "batch.per_device",
    f"trainer.args.{PER_DEVICE}",
    f"trainer.args.{ACCUMULATION}",
)


class RunFolder:
    """The paths in a run folder.

    Attributes:
        config: the resolved configuration; Hydra keeps the unresolved one in ``.hydra/``.
        environment: versions, commit, hardware and seed.
        log: the log.
        tensorboard: the training curves.
        debug: the first batch and a profile, with ``debug=true``.
        prepared: the questions and answers of ``stages=[prepare]``, one file for each split.
        checkpoints: the checkpoints from which training resumes.
        model: the trained adapter or full model, with its processor.
        export: the adapter or the merged model, for use with other programs.
        metrics: all figures, such as ``<split>.<phase>.macro.pearson``.
        report: the report as a page.
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
        """The file of a phase's predictions: ``predictions.jsonl`` for ``final``, else ``predictions.<phase>.jsonl``."""
        name = "predictions.jsonl" if phase == "final" else f"predictions.{phase}.jsonl"
        return self.path / name

    @property
    def has_work(self) -> bool:
        """Whether the folder holds results that a resumed run keeps."""
        kept = [*self.checkpoints.glob("checkpoint-*"), *self.path.glob("predictions*.jsonl")]
        kept += self.path.glob("controls/*.json*")
        kept += self.path.glob("prepared/*.jsonl")
        return bool(kept) or self.model.is_dir() or self.export.is_dir()

    def open(self, config: DictConfig, made_from: Fingerprint | None = None) -> None:
        """Compare the configuration and the fingerprint with those of the results in the folder, and write them.

        Args:
            made_from: the fingerprint of this start; None to compare the settings only.

        Raises:
            ConfigError: the folder holds results of another configuration, of other data or of another model.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            read_manifest(self.path)
        except DamagedFileError as error:
            log.warning("%s: %s. Only the form of the files is checked.", self.path, error)
        new = saved_form(config)
        if self.has_work and (self.config.is_file() or is_listed(self.config)):
            old = self._saved_settings(as_yaml(config), new)
            before = self._saved_fingerprint(made_from) if made_from else None
            if problems := [
                *self._other_settings(config, old, new, files_may_move=before is not None),
                *(self._other_data(before, made_from) if before and made_from else []),
            ]:
                raise ConfigError(problems)
            made_from = made_from and replace(made_from, trained=before.trained if before else {})
        if made_from and (problem := self._other_run_of_sweep(made_from)):
            raise ConfigError(problem)
        write_listed(self.config, as_yaml(config))
        if made_from:
            made_from.write(self.path)
        if is_listed(self.path / ".hydra" / "config.yaml"):
            # In a run folder of a sweep, Hydra has just replaced the files.
            seal(self.path / ".hydra")

    def _other_settings(
        self, config: DictConfig, old: Any, new: Any, *, files_may_move: bool
    ) -> Iterator[str]:
        """A problem that lists the settings that differ from those of the results in the folder."""
        may_differ = list(MAY_DIFFER)
        if OmegaConf.select(config, "batch.global"):
            may_differ += MAY_DIFFER_WITH_GLOBAL_BATCH
        if files_may_move:  # the content of the files is compared
            may_differ += fingerprint.path_settings(config)
        defaults = OmegaConf.to_container(OmegaConf.structured(Root), enum_to_str=True)
        if changed := _differences(_with_defaults(old, new, defaults), new, may_differ):
            more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
            yield (
                f"{self.path} holds a run of another configuration ({'; '.join(changed[:5])}{more}). "
                "Resume it with the settings it was started with, or choose another folder with "
                "hydra.run.dir=…"
            )

    def _other_data(self, before: Fingerprint, now: Fingerprint) -> Iterator[str]:
        """A problem that lists the records and model files that differ from those of the results in the folder."""
        if changed := fingerprint.compare(self.path, before, now):
            score = (
                f" The judge in the folder can be scored on these data: stages=[evaluate] checkpoint={self.path}"
                if self.model.is_dir()
                else ""
            )
            yield (
                f"{self.path} holds results of other records or models. {'. '.join(changed)}. Restore these files to "
                f"resume the run, or start a new run in another folder with hydra.run.dir=….{score}"
            )

    def _other_run_of_sweep(self, now: Fingerprint) -> str | None:
        """The problem that another run of the same sweep was made from other files; None if there is no such run."""
        if not (self.path / "run.json").is_file():
            return None
        for file in sorted(self.path.parent.glob(f"*/{fingerprint.NAME}")):
            run = RunFolder(file.parent)
            if run.path == self.path or not run.has_work:
                continue
            try:
                other = fingerprint.read_fingerprint(run.path)
            except DamagedFileError:
                continue  # the damage is reported when that run is resumed
            if other and (changes := fingerprint.changes_between_runs(other, now)):
                return (
                    f"{run.path}, a run of this sweep, used other records or models: {'; '.join(changes)}. "
                    "Restore these files, or start a new sweep in another folder with hydra.sweep.dir=…"
                )
        return None

    def _saved_fingerprint(self, now: Fingerprint) -> Fingerprint | None:
        """The fingerprint of the results in the folder; None if an earlier version wrote none.

        Raises:
            ConfigError: the file is damaged, and its hash is not that of this start's fingerprint.
        """
        try:
            saved = fingerprint.read_fingerprint(self.path)
        except DamagedFileError as error:
            file = self.path / fingerprint.NAME
            for trained in ({}, fingerprint.trained_weights(self.model)):
                same = replace(now, trained=trained)
                if matches(file, same.text):
                    log.warning("%s Data and model are the same, so it is written again.", error)
                    return same
            raise ConfigError(
                f"{self.path}: {error}. It holds the data and the model of the results in this folder. "
                "Restore it from a copy, or choose another folder with hydra.run.dir=…"
            ) from None
        if saved is None:
            log.warning(
                "%s was written by a version without fingerprints, so the data and the model of its results are not "
                "compared.",
                self.path,
            )
        return saved

    def check_trained(self) -> None:
        """Check that the judge in ``model/`` made the results in the folder, and record its weights' hashes.

        Raises:
            ConfigError: another judge made the results.
        """
        try:
            saved = fingerprint.read_fingerprint(self.path)
        except DamagedFileError:
            return
        weights = fingerprint.trained_weights(self.model)
        if saved is None or saved.trained == weights:
            return
        results = [self.predictions("final"), self.path / "controls", self.export]
        if saved.trained and (names := [path.name for path in results if path.exists()]):
            old, kept = saved.trained, ", ".join(names)
            changed = sorted(
                name for name in {*old, *weights} if old.get(name) != weights.get(name)
            )
            raise ConfigError(
                f"{self.model} holds another judge than the one that made {kept} ({', '.join(changed)}). "
                f"Restore it, or remove {kept}, so that this judge makes them again."
            )
        write_listed(self.path / fingerprint.NAME, replace(saved, trained=weights).text)

    def _saved_settings(self, text: str, new: Any) -> Any:
        """The settings of the results in the folder.

        Args:
            text: the new settings as they would be saved; if the old file is damaged, its hash is compared with them.
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
            f"{damage} It holds the settings of the results in this folder, and the new settings differ "
            "from them. Start the run again with exactly the settings that it was started with, or "
            "choose another folder with hydra.run.dir=…"
        )


def saved_form(config: DictConfig) -> Any:
    """A configuration as plain values, with interpolations resolved and secrets masked."""
    return masked(OmegaConf.to_container(config, resolve=True, enum_to_str=True))


def as_yaml(config: DictConfig) -> str:
    """The text of ``config.yaml``, which reports show too."""
    return OmegaConf.to_yaml(OmegaConf.create(literal(saved_form(config))), resolve=True)


def _with_defaults(old: Any, new: Any, defaults: Any) -> Any:
    """The old settings, with default values for the settings that a later version has added."""
    if not all(isinstance(side, dict) for side in (old, new, defaults)):
        return old
    added = {name: value for name, value in defaults.items() if name in new and name not in old}
    return added | {
        name: _with_defaults(value, new.get(name), defaults.get(name))
        for name, value in old.items()
    }


def _differences(old: Any, new: Any, may_differ: Sequence[str], key: str = "") -> list[str]:
    """The settings that differ between two configurations, as ``key: old → new``."""
    if key in may_differ:
        return []
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) > 0:
        old, new = (dict(enumerate(side)) for side in (old, new))
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return (
            []
            if old == new
            else [f"{key}: {cut(str(old), _MOST_SHOWN)} → {cut(str(new), _MOST_SHOWN)}"]
        )
    old, new = ({str(name): value for name, value in side.items()} for side in (old, new))
    return [
        difference
        for name in sorted({*old, *new})
        for difference in _differences(
            old.get(name), new.get(name), may_differ, f"{key}.{name}" if key else name
        )
    ]
