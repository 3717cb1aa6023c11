"""Finds the settings and the weights of a judge from the path that `Judge.load` takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from yaml import YAMLError

from dramaeval.config.composition import compose_model
from dramaeval.config.home_folder import expand_home
from dramaeval.config.judge_config import judge_config, read_judge_config
from dramaeval.config.judge_file import read_judge
from dramaeval.config.weights import JUDGE, local_folder
from dramaeval.models.checkpoint import Checkpoint, base_of, find_checkpoint
from dramaeval.models.errors import ModelError

log = logging.getLogger(__name__)


def locate(
    path: str, trust: Sequence[str], remote_code: bool
) -> tuple[DictConfig, Checkpoint | None]:
    """The configuration of a judge and its weights; None stands for the weights that the configuration names."""
    path = local_folder(path)
    folder = expand_home(path)
    if not folder.is_dir():
        return compose_model(path), None
    # The settings of RUN/model and RUN/export are those of the run; elsewhere judge.yaml beside the weights has them.
    is_of_run = (folder / "config.yaml").is_file() or folder.absolute().name in ("model", "export")
    if not is_of_run and (judge := _judge_beside(folder, trust, remote_code)):
        return judge
    for run in (folder, *folder.absolute().parents[:2]):
        try:
            config = read_judge_config(run, trust, remote_code=remote_code)
        except YAMLError as error:
            raise ModelError(f"{run / 'config.yaml'} is not YAML: {error}") from None
        if config is None:
            continue
        if run != folder or (run / "model").is_dir():
            return config, find_checkpoint(path)
        # The run has no training, and evaluated its checkpoint.
        return config, find_checkpoint(config.checkpoint) if config.checkpoint else None
    if judge := _judge_beside(folder, trust, remote_code):
        return judge
    start = find_checkpoint(path)
    if not start.adapter:
        return compose_model(str(start.folder)), None
    base = base_of(start.folder)
    if base is None:
        raise ModelError(f"{start.folder / 'adapter_config.json'} does not name its base model.")
    log.info("The adapter in %s names its base: %s.", start.folder, base)
    return compose_model(base), start


def _judge_beside(
    folder: Path, trust: Sequence[str], remote_code: bool
) -> tuple[DictConfig, Checkpoint] | None:
    """The configuration and the weights of a judge with ``judge.yaml`` beside its weights; None without the file."""
    judge = read_judge(folder)
    if judge is None or judge.file.name != JUDGE:
        return None
    start = find_checkpoint(str(folder))
    return judge_config(judge, trust, remote_code=remote_code), start


def full_model_folder(start: Checkpoint) -> Path | None:
    """The folder of the full model: the checkpoint, or the base of its adapter; None if the base is on the hub."""
    base = Path(base_of(start.folder) or "") if start.adapter else start.folder
    return base if (base / "config.json").is_file() else None
