"""Checks of ``trainer``, ``batch`` and ``logger``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from omegaconf import DictConfig

from dramaeval.config import batch_size
from dramaeval.config.fields import Limits, range_problems, settings_of
from dramaeval.config.keys import check_arguments
from dramaeval.config.problems import not_among
from dramaeval.config.schema import Stage, WandbConfig
from dramaeval.training.grpo import settings as grpo

#: Arguments of TRL's configuration that the run sets, with the setting to use instead of each.
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
    "remove_unused_columns": "nothing: the project creates its own batches",
    "do_train": "stages=[train,…]",
    "do_eval": "trainer.args.eval_strategy=…",
    "label_smoothing_factor": "trainer.objective=… or task.labels=…",
    "per_device_eval_batch_size": "batch.eval_clips=NUMBER",
    "train_sampling_strategy": "nothing: the order of the clips follows from seed",
    "push_to_hub": "nothing: upload the run folder's model/ yourself",
}
#: Further such arguments of supervised training.
RESERVED_SFT = {
    "dataset_kwargs": "nothing: the project prepares its data itself",
    "max_length": "nothing: prompts are never cut",
    "packing": "batch.shared_prefix=true",
    "loss_type": "trainer.objective=…",
}
#: Arguments of a trainer that the run passes, with the setting to use instead of each.
SUPPLIED = {
    "model": "model=… and checkpoint=…",
    "record_encoder": "task=…",
    "train_records": "task.data.train=FILE",
    "val_records": "task.data.val=FILE",
    "batch": "batch.*",
    "callbacks": "logger=…",
}
#: Arguments of TRL's configuration that the run derives if they are null.
DERIVED = (
    batch_size.PER_DEVICE,
    batch_size.ACCUMULATION,
    "num_generations",
    "dataloader_num_workers",
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
#: Validation figures over all dimensions and scores by which the best checkpoint can be chosen.
VALIDATED = ("pearson", "loss", "mse", "accuracy", "choice_accuracy")


def problems(config: DictConfig) -> list[str]:
    """Problems of ``trainer``, ``batch`` and ``logger``; without training, of the objective and the logger only."""
    messages = _objective_problems(config) + _logger_problems(config)
    if Stage.train not in config.stages:
        return messages
    trainer, by_reward = config.trainer, grpo.trains_by_reward(config)
    args = {
        key: value for key, value in trainer.args.items() if value is not None or key not in DERIVED
    }
    reserved = RESERVED | (grpo.RESERVED if by_reward else RESERVED_SFT)
    messages += check_arguments(args, "trainer.args", reserved=reserved)
    messages += check_arguments(trainer, "trainer", reserved=SUPPLIED, also=("args",))
    limits = dict(ARGUMENT_LIMITS)
    steps = args.get("max_steps")
    if not (isinstance(steps, int) and steps > 0):  # else max_steps replaces it
        limits["num_train_epochs"] = Limits(above=0)
    messages += range_problems(args, "trainer.args", limits) + _best_problems(args)
    messages += grpo.problems(config) if by_reward else []
    return messages + batch_size.problems(config)


def _best_problems(args: Mapping[str, object]) -> list[str]:
    best = args.get("metric_for_best_model")
    if not args.get("load_best_model_at_end") or best is None:
        return []
    name = str(best).removeprefix("eval_")
    if name in VALIDATED or re.fullmatch(r"pearson/.+|score_[\d.]+/accuracy", name):
        return []
    message = not_among("trainer.args.metric_for_best_model", best, VALIDATED)
    return [f"{message} One dimension's correlation is pearson/KEY."]


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
