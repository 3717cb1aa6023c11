"""Checks of a composed configuration, all told at once, in the words the user wrote, before weights load."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from dramaeval.config.batch import ACCUMULATION, PER_DEVICE
from dramaeval.config.combinations import check_combinations, left_open
from dramaeval.config.evidence import check_evidence
from dramaeval.config.grpo import RESERVED as RESERVED_GRPO
from dramaeval.config.grpo import check_grpo, trains_by_reward
from dramaeval.config.parts import files_of, parts_of, where_of
from dramaeval.config.placement import placement_problems
from dramaeval.config.schema import SPLITS, Stage
from dramaeval.config.together import check_together

#: Arguments of TRL's that the run itself decides, and the setting of ours that does.
RESERVED = {
    "output_dir": "hydra.run.dir=FOLDER",
    "seed": "seed=NUMBER",
    "data_seed": "seed=NUMBER",
    "report_to": "logger=tensorboard|wandb|none",
    "hub_token": "HF_TOKEN in the environment",
    "logging_dir": "hydra.run.dir=FOLDER",
    "use_cpu": "device=cpu",
    "bf16": "model.dtype=bfloat16",
    "fp16": "model.dtype=float16",
    "resume_from_checkpoint": "hydra.run.dir=FOLDER of the interrupted run",
    "deepspeed": "zero=…",
    "remove_unused_columns": "nothing: the project makes its own batches",
    "do_train": "stages=[train,…]",
    "do_eval": "trainer.args.eval_strategy=…",
    "label_smoothing_factor": "trainer.objective=… or task.labels=…",
    "per_device_eval_batch_size": "batch.eval_clips=NUMBER",
    "train_sampling_strategy": "nothing: the order of the clips follows from seed",
    "push_to_hub": "nothing: upload the run folder's model/ yourself",
}
#: The same of its supervised trainer alone.
RESERVED_SFT = {
    "dataset_kwargs": "nothing: the project prepares its data itself",
    "max_length": "nothing: prompts are never cut",
    "packing": "batch.shared_prefix=true",
    "loss_type": "trainer.objective=…",
}
#: What is taken from a task's settings before its class is called.
TASK_KEYS = ("labels", "label_policies", "data", "best_by")
#: Arguments of TRL's that are worked out where they are null.
DERIVED = (PER_DEVICE, ACCUMULATION, "num_generations")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
DTYPES = ("auto", "float32", "bfloat16", "float16")
LOGGERS = ("tensorboard", "wandb")
WANDB = ("mode", "project", "entity", "name", "group", "tags")
WANDB_MODES = ("auto", "online", "offline")


class ConfigError(ValueError):
    """A configuration that cannot run; the message lists every problem with its key and its fix."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        many = "problem" if len(problems) == 1 else "problems"
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(problems, 1))
        super().__init__(f"The configuration has {len(problems)} {many}:\n{lines}")


def check(config: DictConfig) -> None:
    """Check what can be checked without reading data or weights.

    Raises:
        ConfigError: with all problems.
    """
    problems: list[str] = []
    missing = sorted(OmegaConf.missing_keys(config))
    problems += [f"{key} has no value: give it as {key}=…" for key in missing]
    stages = set(config.stages)
    if not stages:
        problems.append(
            "stages=[] does nothing: choose from " + ", ".join(s.name for s in Stage) + "."
        )
    problems += _check_data(config, stages)
    problems += _check_model(config)
    problems += _check_numbers(config)
    problems += _check_loggers(config)
    problems += check_together(config)
    problems += check_evidence(config)
    if Stage.train in stages:
        args = {
            key: value
            for key, value in config.trainer.args.items()
            if value is not None or key not in DERIVED
        }
        by_reward = trains_by_reward(config)
        own = RESERVED_GRPO if by_reward else RESERVED_SFT
        problems += check_arguments(args, "trainer.args", reserved=RESERVED | own)
        problems += check_grpo(config) if by_reward else []
        if config.peft is not None:
            given = {
                key: config.peft[key] for key in config.peft if not left_open(config.peft, key)
            }
            problems += check_arguments(given, "peft")
    if config.quantization:
        problems += check_arguments(config.quantization, "quantization")
    problems += check_combinations(config)
    for part, node in parts_of(config.task).items():
        problems += check_arguments(node, where_of(config.task, part), also=TASK_KEYS)
    if config.task.get("tasks"):
        problems += check_arguments(config.task, "task", also=TASK_KEYS)
    problems += _check_names(config)
    if problems:
        raise ConfigError(problems)


def _check_data(config: DictConfig, stages: set[Stage]) -> list[str]:
    files, problems = files_of(config.task), []
    own = [key for key in (*SPLITS, "sample") if config.task.data[key]]
    if own and config.task.get("tasks"):
        first = next(iter(config.task.tasks))
        problems += [
            f"task.data.{key} belongs to none of several tasks: give task.tasks.{first}.data.{key}."
            for key in own
        ]
    if Stage.train in stages and "train" not in files:
        problems.append("task.data.train is not set, but stages has train: give a JSONL file.")
    if Stage.prepare in stages and not files:
        problems.append(
            "stages has prepare, but there is no file: give task.data.train, val or test."
        )
    if Stage.evaluate in stages and not {"val", "test"} & set(files):
        problems.append(
            "Neither task.data.val nor task.data.test is set, but stages has evaluate: give a JSONL file."
        )
    if config.checkpoint is not None and not Path(config.checkpoint).expanduser().exists():
        problems.append(
            f"checkpoint={config.checkpoint} does not exist: give a run, model or adapter folder."
        )
    return problems


def _check_model(config: DictConfig) -> list[str]:
    model, problems = config.model, []
    if model.attention not in ATTENTIONS:
        problems.append(_not_among("model.attention", model.attention, ATTENTIONS))
    elif model.attention != "sdpa" and config.batch.shared_prefix:
        problems.append(
            f"model.attention={model.attention} cannot share a prefix between questions: set "
            "batch.shared_prefix=false, or model.attention=sdpa."
        )
    if model.dtype not in DTYPES:
        problems.append(_not_among("model.dtype", model.dtype, DTYPES))
    return problems + placement_problems(config)


def _check_loggers(config: DictConfig) -> list[str]:
    problems = []
    chosen = config.logger or {}
    for name in chosen:
        if name not in LOGGERS:
            problems.append(_not_among("logger", name, LOGGERS))
    wandb = chosen.get("wandb") or {}
    for key in wandb:
        if key not in WANDB:
            problems.append(_not_among("logger.wandb", key, WANDB))
    if wandb and wandb.get("mode") not in WANDB_MODES:
        problems.append(_not_among("logger.wandb.mode", wandb.get("mode"), WANDB_MODES))
    return problems


def _check_numbers(config: DictConfig) -> list[str]:
    batch, evaluation, problems = config.batch, config.evaluation, []
    least = {
        "batch.questions_per_clip": batch.questions_per_clip,
        "batch.eval_clips": batch.eval_clips,
        "batch.cache_clips": batch.cache_clips,
        "evaluation.draws": evaluation.draws,
        "task.data.workers": config.task.data.workers,
    }
    for key, value in least.items():
        if value is not None and value < 1:
            problems.append(f"{key}={value} must be 1 or more.")
    if not 0 < evaluation.level < 1:
        problems.append(
            f"evaluation.level={evaluation.level} must lie between 0 and 1, for example 0.95."
        )
    if not 0 < config.task.data.max_seconds <= 30:
        problems.append(
            f"task.data.max_seconds={config.task.data.max_seconds:g} must lie above 0 and at most at 30: "
            "the audio encoder hears no longer."
        )
    return problems


def _check_names(config: DictConfig) -> list[str]:
    from dramaeval.training.objectives import parse

    problems = []
    for part, node in parts_of(config.task).items():
        if "labels" in node and node.labels not in node.label_policies:
            key = f"{where_of(config.task, part)}.labels"
            problems.append(_not_among(key, node.labels, node.label_policies))
    try:
        if "objective" in config.trainer:
            parse(config.trainer.objective, config.trainer.objectives)
    except ValueError as error:
        problems.append(str(error))
    return problems


def check_arguments(
    node: Mapping[str, Any],
    where: str,
    reserved: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
) -> list[str]:
    """Compare a node's keys with the arguments of its ``_target_``'s constructor.

    Args:
        node: a config node with a ``_target_``.
        where: its key, for the messages.
        reserved: arguments that are not the user's to set, and what to set instead.
        also: keys that are consumed before the constructor is called.
    """
    if "_target_" not in node:
        return [f"{where} has no _target_: choose one of the group's files."]
    target = get_object(node["_target_"])
    known = [*argument_names(target), *also]
    problems = []
    for key in node:
        if key.startswith("_"):
            continue
        if reserved and key in reserved:
            problems.append(f"{where}.{key} is set by the run: use {reserved[key]}.")
        elif key not in known:
            near = get_close_matches(key, known, 3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            problems.append(f"{where}.{key} is not an argument of {node['_target_']}.{hint}")
        elif wanted := _wrong_type(target, key, node[key]):
            problems.append(f"{where}.{key}={node[key]} must be {wanted}.")
    return problems


def _wrong_type(target: Any, key: str, value: Any) -> str | None:
    """What a plain argument of a dataclass should be, if the value is not; None where it is or may be."""
    if not is_dataclass(target):
        return None
    hint = get_type_hints(target).get(key)
    choices = set(get_args(hint)) or {hint}
    if not choices <= {int, float, bool, str, type(None)}:
        return None
    accepted = choices | ({int} if float in choices else set())
    if type(value) in accepted:
        return None
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return " or ".join(names[one] for one in (int, float, bool, str) if one in choices) or "null"


def argument_names(target: Callable[..., Any]) -> list[str]:
    """The keyword arguments that a callable takes."""
    names: dict[str, None] = {}
    # A subclass hands on what it does not name itself as **kwargs.
    for one in target.__mro__ if inspect.isclass(target) else (target,):
        if one is not object:
            names |= dict.fromkeys(inspect.signature(one).parameters)
    return [name for name in names if name not in ("self", "args", "kwargs")]


def _not_among(key: str, value: object, choices: Sequence[str] | Mapping[str, Any]) -> str:
    near = get_close_matches(str(value), list(choices), 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{key}={value} is not known; choose one of {', '.join(choices)}.{hint}"
