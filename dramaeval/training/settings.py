"""Checks of ``trainer``, ``batch`` and ``logger``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from dramaeval.config import batch_size
from dramaeval.config.fields import Limits, fits, range_problems, settings_of
from dramaeval.config.keys import check_arguments, resolve_target
from dramaeval.config.library_schema import WandbConfig
from dramaeval.config.problems import not_among
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import files_of
from dramaeval.training import trl_arguments
from dramaeval.training.grpo import settings as grpo

#: Arguments of a trainer that the run passes, with the setting to use instead.
SUPPLIED = {
    "model": "model=… and checkpoint=…",
    "record_encoder": "task=…",
    "train_records": "task.data.train=FILE",
    "val_records": "task.data.val=FILE",
    "batch": "batch.*",
    "callbacks": "callbacks.NAME._target_=package.module.Class",
}
#: Arguments of TRL's configuration that the run derives if they are null.
DERIVED = (
    batch_size.PER_DEVICE,
    batch_size.ACCUMULATION,
    "num_generations",
    "dataloader_num_workers",
    "bf16",
)
#: Limits of TRL's arguments.
ARGUMENT_LIMITS: Mapping[str, Limits] = {
    "learning_rate": Limits(above=0),
    "weight_decay": Limits(minimum=0),
    "max_grad_norm": Limits(minimum=0),
    "warmup_steps": Limits(minimum=0),
    "logging_steps": Limits(above=0),
    "eval_steps": Limits(above=0),
    "save_steps": Limits(above=0),
    "save_total_limit": Limits(minimum=1),
    "dataloader_num_workers": Limits(minimum=0),
}
#: Parts of the model that can have a separate learning rate, by the names in `Family.parts`.
MODEL_PARTS = ("audio", "projector", "llm")
#: Keys of trainer.args.gradient_checkpointing_kwargs; TRL's ``selective`` does not work on the layers of a judge.
CHECKPOINTING_KEYS = ("use_reentrant", "preserve_rng_state", "determinism_check")
#: Prefixes of optimizer names in transformers, with the package that these optimizers need.
OPTIMIZER_PACKAGES = {
    "adamw_8bit": "bitsandbytes",
    "adamw_anyprecision": "torchdistx",
    "adamw_bnb": "bitsandbytes",
    "adamw_torch_4bit": "torchao",
    "adamw_torch_8bit": "torchao",
    "adamw_torch_npu": "torch_npu",
    "adamw_torch_xla": "torch_xla",
    "adalomo": "lomo_optim",
    "ademamix": "bitsandbytes",
    "apollo": "apollo_torch",
    "galore": "galore_torch",
    "grokadamw": "grokadamw",
    "lion": "bitsandbytes",
    "lomo": "lomo_optim",
    "paged": "bitsandbytes",
    "rmsprop_bnb": "bitsandbytes",
    "schedule_free": "schedulefree",
    "stable_adamw": "optimi",
}
#: Validation figures over all dimensions and scores by which the best checkpoint can be chosen.
VALIDATED = (
    "pearson", "cross_entropy", "mse", "accuracy", "choice_accuracy", "pair_accuracy",
    "pair_cross_entropy",
)  # fmt: skip
#: The schedulers that follow a figure of validation; their default mode is ``min``: a smaller value is better.
FOLLOWING_SCHEDULERS = ("reduce_lr_on_plateau", "greedy")
#: The figures of which a smaller value is better.
SMALLER_IS_BETTER = ("cross_entropy", "mse", "pair_cross_entropy")


def problems(config: DictConfig) -> list[str]:
    """Problems of ``trainer``, ``batch`` and ``logger``; without training, only of the objective and the logger."""
    messages = _objective_problems(config) + _logger_problems(config)
    if Stage.train not in config.stages:
        return messages
    messages += _callback_problems(config)
    trainer, by_reward = config.trainer, grpo.trains_by_reward(config)
    args = {
        key: value for key, value in trainer.args.items() if value is not None or key not in DERIVED
    }
    reserved = trl_arguments.reserved(by_reward=by_reward)
    messages += check_arguments(args, "trainer.args", reserved=reserved)
    target = resolve_target(args.get("_target_", ""))
    if is_dataclass(target):
        trl_fields = {field.name: field for field in fields(target)}
        messages += trl_arguments.sorting_problems(args, trl_fields, by_reward=by_reward)
    messages += check_arguments(trainer, "trainer", reserved=SUPPLIED, also=("args",))
    limits = dict(ARGUMENT_LIMITS)
    steps = args.get("max_steps")
    if not (isinstance(steps, int) and steps > 0):  # else max_steps replaces it
        limits["num_train_epochs"] = Limits(above=0)
    messages += range_problems(args, "trainer.args", limits) + _best_problems(args)
    messages += _scheduler_problems(args, validates="val" in files_of(config.task))
    messages += _rate_problems(trainer.get("learning_rates"))
    messages += _optimizer_problems(args) + _checkpointing_problems(args)
    messages += grpo.problems(config) if by_reward else []
    return messages + batch_size.problems(config)


def refused_arguments(config: DictConfig) -> list[str]:
    """Problems of arguments that the run sets, or that have no effect; this check does not import TRL."""
    if Stage.train not in config.stages:
        return []
    messages = [
        trl_arguments.set_by_run_problem(f"trainer.{key}", SUPPLIED[key])
        for key in config.trainer
        if key in SUPPLIED
    ]
    args = config.trainer.args
    by_reward = str(args.get("_target_")).endswith("GRPOConfig")
    set_by_run = trl_arguments.reserved(by_reward=by_reward)
    no_effect = trl_arguments.without_effect(by_reward=by_reward)
    for key in args:
        where = f"trainer.args.{key}"
        if key in set_by_run and key not in DERIVED:
            messages.append(trl_arguments.set_by_run_problem(where, set_by_run[key]))
        elif key in no_effect and key not in DERIVED:
            messages.append(trl_arguments.no_effect_problem(where, no_effect[key]))
    return messages


def _callback_problems(config: DictConfig) -> list[str]:
    messages = []
    for name, node in (config.get("callbacks") or {}).items():
        if isinstance(node, Mapping):
            messages += check_arguments(node, f"callbacks.{name}")
        else:
            messages.append(
                f"callbacks.{name}={node} must be a mapping with a _target_: "
                f"callbacks.{name}._target_=package.module.Class"
            )
    return messages


def _rate_problems(rates: Any) -> list[str]:
    where = "trainer.learning_rates"
    if rates is None:
        return []
    if not isinstance(rates, Mapping):
        return [f"{where}={rates} must be a mapping: {where}.audio=5e-5."]
    messages = [not_among(where, part, MODEL_PARTS) for part in rates if part not in MODEL_PARTS]
    messages += [
        f"{where}.{part}={rate} must be a number, or null for trainer.args.learning_rate."
        for part, rate in rates.items()
        if not fits(float | None, rate)
    ]
    return messages + range_problems(rates, where, dict.fromkeys(MODEL_PARTS, Limits(above=0)))


def _optimizer_problems(args: Mapping[str, object]) -> list[str]:
    optimizer = str(args.get("optim", ""))
    for beginning, package in OPTIMIZER_PACKAGES.items():
        if optimizer.startswith(beginning) and find_spec(package) is None:
            return [
                f"trainer.args.optim={optimizer} needs the package {package}, which is not installed: use another "
                "optimizer, for example adamw_torch."
            ]
    return []


def _checkpointing_problems(args: Mapping[str, Any]) -> list[str]:
    settings = args.get("gradient_checkpointing_kwargs") or {}
    if not isinstance(settings, Mapping):
        return []  # reported by the check of types
    return [
        not_among("trainer.args.gradient_checkpointing_kwargs", key, CHECKPOINTING_KEYS)
        for key in settings
        if key not in CHECKPOINTING_KEYS
    ]


def _best_problems(args: Mapping[str, object]) -> list[str]:
    follows = args.get("lr_scheduler_type") in FOLLOWING_SCHEDULERS
    if not (args.get("load_best_model_at_end") or follows):
        return []
    where, best = "trainer.args.metric_for_best_model", args.get("metric_for_best_model")
    name, greater = str(best).removeprefix("eval_"), args.get("greater_is_better")
    if best is None or name == "loss":
        return [
            f"{where}={'null' if best is None else best}: validation measures no loss, because the objective is "
            "computed in training only: set it to cross_entropy (of the judge's distribution with the ratings) and "
            f"trainer.args.greater_is_better=false, or to one of {', '.join(VALIDATED)}."
        ]
    if name in SMALLER_IS_BETTER and greater is not False:
        return [
            f"{where}={best}: a smaller value is better, so set trainer.args.greater_is_better=false; the worst step "
            "would be kept."
        ]
    if name not in SMALLER_IS_BETTER and greater is False:
        return [
            f"{where}={best}: a greater value is better, so set trainer.args.greater_is_better=true; the worst step "
            "would be kept."
        ]
    if name in VALIDATED or re.fullmatch(r"pearson/.+|score_[\d.]+/accuracy", name):
        return []
    message = not_among(where, best, VALIDATED)
    return [f"{message} One dimension's correlation is pearson/KEY."]


def _scheduler_problems(args: Mapping[str, Any], *, validates: bool) -> list[str]:
    """Problems of a scheduler that follows ``metric_for_best_model``: without it, or in the wrong direction."""
    scheduler, strategy = args.get("lr_scheduler_type"), args.get("eval_strategy")
    if scheduler not in FOLLOWING_SCHEDULERS:
        return []
    where = f"trainer.args.lr_scheduler_type={scheduler} follows a figure of validation"
    # Hydra reads a bare `no` as a text, and a YAML file as false.
    if strategy in ("no", False, None):
        return [f"{where}: set trainer.args.eval_strategy=steps, or another scheduler."]
    if not validates:
        return [
            f"{where}, and there is no val split: set task.data.val=FILE, or another scheduler."
        ]
    settings, best = args.get("lr_scheduler_kwargs") or {}, args.get("metric_for_best_model")
    if not isinstance(settings, Mapping):
        return []  # reported by the check of types
    smaller = str(best).removeprefix("eval_") in SMALLER_IS_BETTER
    mode, better = ("min", "smaller") if smaller else ("max", "greater")
    if settings.get("mode", "min") == mode:
        return []
    return [
        f"{where}, {best}, of which a {better} value is better: set trainer.args.lr_scheduler_kwargs.mode={mode}; the "
        "learning rate would decrease while the judge improves."
    ]


def _logger_problems(config: DictConfig) -> list[str]:
    wandb = config.logger.wandb
    if wandb.enabled:
        return []
    return [
        f"logger.wandb.{name}={wandb[name]} is not used, since logger.wandb.enabled=false: choose logger=wandb."
        for name, declared in settings_of(WandbConfig).items()
        if wandb[name] != declared.default
    ]


def _objective_problems(config: DictConfig) -> list[str]:
    if "objective" not in config.trainer:
        return []
    from dramaeval.training.objectives import parse  # imports torch

    expression = config.trainer.objective
    try:
        terms = parse(expression, config.trainer.get("objectives") or {})
    except ValueError as error:
        return [str(error)]
    return [
        f"trainer.objective={expression}: the weight {weight:g} of {name} must be above 0."
        for name, weight in terms
        if not (weight > 0 and math.isfinite(weight))
    ]
