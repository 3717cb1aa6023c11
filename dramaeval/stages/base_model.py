"""Determines the base model of a run and its quantisation, and checks that the adapter in ``checkpoint`` fits it.

Before any weights load, only the small files of the adapter are read.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.home_folder import expand_home
from dramaeval.config.judge_file import SavedJudge, read_judge
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE, Stage
from dramaeval.config.weights import model_identity
from dramaeval.data.logmel import VERSION
from dramaeval.models.adapter_settings import unmergeable
from dramaeval.models.adapters import read_adapter
from dramaeval.models.checkpoint import Checkpoint, base_of
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import SCORE_HEAD
from dramaeval.models.quantization import read_quantization

log = logging.getLogger(__name__)

#: Settings that determine an adapter's shape, and must stay the same when its training continues.
SHAPE = ("r", "lora_alpha", "use_dora", "use_rslora", "init_r", "num_virtual_tokens",
         "target_modules", "feedforward_modules")  # fmt: skip


def check(config: DictConfig) -> list[str]:
    """Problems of ``checkpoint``."""
    if config.checkpoint is None or expand_home(config.checkpoint).exists():
        return []
    return [f"checkpoint={config.checkpoint} does not exist: give a run, model or adapter folder."]


def check_checkpoint(
    config: DictConfig, family: Family, adapter: Any | None, start: Checkpoint | None
) -> None:
    """Compare an adapter in ``checkpoint`` with the settings.

    Args:
        family: the family of the run, which names a base model.
        adapter: PEFT's configuration of this run; None if no adapter is trained.
        start: the model or adapter in ``checkpoint``; None without ``checkpoint``.

    Raises:
        ConfigError: lists every contradiction with its fix.
    """
    if start is None:
        return
    problem = front_end_problem(read_judge(start.folder)) if family.takes_audio else None
    if problem and not config.checkpoint_override:
        raise ConfigError(f"{problem}. Set checkpoint_override=true to use it anyway.")
    if not start.adapter:
        return
    saved = read_adapter(start.folder)
    problems = [] if config.checkpoint_override else _check_base(start.folder, family)
    if Stage.train in config.stages:
        problems += _check_method(saved, adapter)
    merges = Stage.export in config.stages and config.export.merge
    if merges and saved.is_prompt_learning:
        problems.append(unmergeable(type(saved).__name__))
    if problems:
        raise ConfigError(problems)


def front_end_problem(judge: SavedJudge | None) -> str | None:
    """The message about a judge whose training used another version of the log-mel features; None for others."""
    if judge is None or judge.front_end in (None, VERSION):
        return None
    return (
        f"{judge.file}: the judge was trained on version {judge.front_end} of the log-mel front end, and this "
        f"version of dramaeval computes version {VERSION}: its scores would differ"
    )


def base_folder(start: Checkpoint | None, family: Family) -> Path | None:
    """The folder of the base model; None for ``model.path``.

    A full model in ``checkpoint`` is the base. An adapter names its base; if that is a folder, it replaces the default
    ``model=tiny``.
    """
    if start is None or not start.adapter:
        return start.folder if start else None
    base = Path(base_of(start.folder) or "")
    if not (base / "config.json").is_file() or not _is_default(family) or _same(base, family):
        return None
    log.info("The adapter was trained on %s, which is loaded as its base.", base)
    return base


def _is_default(family: Family) -> bool:
    return Path(family.path) == PACKAGE / "models" / "tiny"


def _same(folder: Path, family: Family) -> bool:
    return Path(family.path).is_dir() and folder.samefile(family.path)


def _check_base(folder: Path, family: Family) -> list[str]:
    trained_on = base_of(folder)
    if not trained_on or trained_on == family.path:
        return []
    if not (Path(trained_on) / "config.json").is_file():
        log.warning("The adapter was trained on %s; its base is now %s.", trained_on, family.path)
        return []
    if _same(Path(trained_on), family) or _is_default(family):
        return []
    if model_identity(trained_on) == model_identity(family.path, family.revision):
        return []
    return [
        f"checkpoint: the adapter was trained on {trained_on}, but model.path={family.path}: set "
        f"model.path={trained_on}."
    ]


def _check_method(saved: Any, adapter: Any | None) -> list[str]:
    """The differences between the saved adapter, whose training continues, and the settings."""
    if adapter is None:
        return [
            "checkpoint holds an adapter, but peft=none trains every weight. To train the adapter's judge in "
            "full, merge it first (stages=[export] export.merge=true), then give checkpoint=RUN/export."
        ]
    if saved.peft_type != adapter.peft_type:
        return [
            f"checkpoint holds an adapter of {_name(saved)}, but peft is {_name(adapter)}: choose the peft=… "
            "of the same method, or merge the adapter first (stages=[export] export.merge=true)."
        ]
    if getattr(saved, "prefix_projection", False):
        return [
            "checkpoint holds a prefix that was learnt through a projection, which PEFT does not save: "
            "its training cannot continue."
        ]
    problems = _check_modules(saved, adapter)
    for key in SHAPE:
        if not hasattr(saved, key):
            continue
        old, new = _plain(getattr(saved, key)), _plain(getattr(adapter, key))
        if old != new and "target_modules" not in key and "feedforward_modules" not in key:
            problems.append(
                f"peft.{key}={new}, but the adapter in checkpoint has {old}: set peft.{key}={old}."
            )
        elif old != new:
            problems.append(
                f"adapt or peft.{key} names other layers than the adapter in checkpoint has ({old}): give the "
                "values that it was trained with."
            )
    return problems


def _check_modules(saved: Any, adapter: Any) -> list[str]:
    """The problem of modules that only one of the adapters trains in full; the loader checks a regression head."""
    old, new = (
        sorted({*(getattr(settings, "modules_to_save", None) or ())} - {SCORE_HEAD})
        for settings in (saved, adapter)
    )
    if old == new:
        return []
    return [
        f"The adapter in checkpoint was trained with {', '.join(old) or 'no module'} in full, and this run would train "
        f"{', '.join(new) or 'none'} in full: give the same peft.modules_to_save, model.train_projector and model=."
    ]


def _name(settings: Any) -> str:
    return type(settings).__name__.removesuffix("Config")


def _plain(value: Any) -> Any:
    """A value in the form in which JSON stores it: sets and lists become sorted lists."""
    return sorted(value) if isinstance(value, set | list | tuple) else value


def base_quantization(requested: Any | None, adapter: Path | None) -> Any | None:
    """The quantisation of the base: from the settings, or else as in the training of the adapter.

    Args:
        requested: transformers' quantisation settings; None if the run has none.
        adapter: the folder of the adapter, or None.
    """
    if requested is not None or adapter is None:
        return requested
    saved = read_quantization(adapter)
    if saved is not None:
        log.info(
            "The adapter was trained on a quantised base: the base is quantised in the same way."
        )
    return saved
