"""From configuration to objects: the cheap ones, whose constructors check their own arguments."""

from __future__ import annotations

from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dramaeval.config.batch import ACCUMULATION, PER_DEVICE, step_size
from dramaeval.config.check import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.models.adapters import restrict
from dramaeval.models.loading import Family
from dramaeval.run.folder import RunFolder
from dramaeval.tasks.rubric import RubricError
from dramaeval.tasks.task import Task


def build_task(config: DictConfig) -> Task:
    """The task, its rubric read and its label policy chosen.

    Raises:
        ConfigError: the rubric or a dimension's name is wrong.
    """
    node = cast(dict[str, Any], OmegaConf.to_container(config.task, resolve=True, enum_to_str=True))
    policies, chosen = node.pop("label_policies"), node.pop("labels")
    node.pop("data")
    try:
        return instantiate({**node, "_convert_": "all"}, labels=instantiate(policies[chosen]))
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, RubricError | KeyError | ValueError):
            raise ConfigError([f"task: {cause.args[0] if cause.args else cause}"]) from None
        raise


def build_family(config: DictConfig) -> Family:
    """The model family; reads nothing yet."""
    return instantiate(config.model, _convert_="all")


def build_adapter(config: DictConfig, family: Family) -> Any | None:
    """PEFT's configuration, kept to the parts that ``adapt`` names; None for full fine-tuning.

    Raises:
        ConfigError: PEFT refuses a value, or ``adapt`` names no part of the model.
    """
    if config.peft is None or Stage.train not in config.stages:
        return None
    adapt = config.adapt if isinstance(config.adapt, str) else list(config.adapt)
    try:
        return restrict(instantiate(config.peft, _convert_="all"), family, adapt)
    except (InstantiationException, ValueError) as error:
        raise ConfigError([f"peft: {error.__cause__ or error}"]) from None


def build_arguments(
    config: DictConfig, folder: RunFolder, device: torch.device, *, validates: bool
) -> Any | None:
    """The trainer's arguments; None where nothing is trained.

    Without a validation split there is nothing to validate on and no best checkpoint to go back to, so the
    arguments that ask for it are switched off; the run says so.

    Raises:
        ConfigError: the trainer refuses a value.
    """
    if Stage.train not in config.stages:
        return None
    step = step_size(config, config.processes)
    own: dict[str, Any] = {
        "output_dir": str(folder.checkpoints),
        "seed": config.seed,
        PER_DEVICE: step.per_device,
        ACCUMULATION: step.accumulation,
        "deepspeed": None,
        "report_to": "none",  # the run attaches its loggers itself, with their folders
        "use_cpu": device.type == "cpu",
        "bf16": device.type == "cuda" and torch.cuda.is_bf16_supported(),
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    from dramaeval.training.zero import filled, spare_the_compiler, tell_the_group

    if config.zero is not None and not config.plan:
        zero = cast(dict[str, Any], OmegaConf.to_container(config.zero, resolve=True))
        own["deepspeed"] = filled(zero, {**config.trainer.args, **own}, step)
        # With use_cpu transformers would run plain data parallelism and say nothing.
        own["use_cpu"] = False
        if device.type == "cpu":
            spare_the_compiler()
    if not validates:
        own |= {"eval_strategy": "no", "load_best_model_at_end": False}
    try:
        arguments = instantiate(config.trainer.args, _convert_="all", **own)
    except InstantiationException as error:
        raise ConfigError([f"trainer.args: {error.__cause__ or error}"]) from None
    if own["deepspeed"] and device.type == "cpu":
        tell_the_group(arguments)
    # A process has one GPU; transformers would take all that it sees into one batch.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
