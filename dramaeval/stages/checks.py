"""Checks of a composed configuration, all told at once, in the words the user wrote, before weights load."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.batch_size import ACCUMULATION, PER_DEVICE
from dramaeval.config.bounds import check_values, objective_weights
from dramaeval.config.combinations import check_combinations, left_open
from dramaeval.config.keys import check_arguments, check_own, missing_targets
from dramaeval.config.multi_process import check_together
from dramaeval.config.placement import placement_problems
from dramaeval.config.problems import ConfigError, not_among
from dramaeval.config.schema import ATTENTIONS, DTYPES, SPLITS, Stage, split_files
from dramaeval.config.task_parts import TASK_KEYS, files_of, parts_of, where_of
from dramaeval.stages import base_model, controls, evaluate, export, prepare, report, score, train
from dramaeval.training.grpo.settings import RESERVED as RESERVED_GRPO
from dramaeval.training.grpo.settings import check_grpo, trains_by_reward

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
#: What the run itself brings to the trainer.
BROUGHT = {
    "model": "model=… and checkpoint=…",
    "record_encoder": "task=…",
    "train_records": "task.data.train=FILE",
    "val_records": "task.data.val=FILE",
    "batch": "batch.*",
    "callbacks": "logger=…",
}
#: Arguments of TRL's that are worked out where they are null.
DERIVED = (PER_DEVICE, ACCUMULATION, "num_generations", "dataloader_num_workers")
LOGGERS = ("tensorboard", "wandb")
WANDB = ("mode", "project", "entity", "name", "group", "tags")
WANDB_MODES = ("auto", "online", "offline")

#: The modules that check their own settings.
CHECKED: tuple[ModuleType, ...] = (
    base_model,
    prepare,
    train,
    evaluate,
    controls,
    score,
    report,
    export,
)


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
    problems += _check_data(config)
    problems += _check_model(config)
    problems += check_own(config)
    problems += missing_targets(config)
    problems += check_values(config)
    problems += _check_loggers(config)
    problems += check_together(config)
    problems += _check_shots(config)
    problems += _check_evaluation(config)
    for module in CHECKED:
        problems += module.check(config)
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
        problems += check_arguments(config.trainer, "trainer", reserved=BROUGHT, also=("args",))
        if config.peft is not None:
            given = {
                key: config.peft[key] for key in config.peft if not left_open(config.peft, key)
            }
            problems += check_arguments(given, "peft")
    if config.quantization:
        problems += check_arguments(config.quantization, "quantization")
    problems += check_arguments(config.model, "model")
    problems += check_combinations(config)
    for part, node in parts_of(config.task).items():
        problems += check_arguments(node, where_of(config.task, part), also=TASK_KEYS)
    if config.task.get("tasks"):
        problems += check_arguments(config.task, "task", also=TASK_KEYS)
    problems += _check_names(config)
    if problems:
        raise ConfigError(problems)


def _check_data(config: DictConfig) -> list[str]:
    files, problems = files_of(config.task), []
    own = [key for key in (*SPLITS, "sample") if config.task.data[key]]
    if own and config.task.get("tasks"):
        first = next(iter(config.task.tasks))
        problems += [
            f"task.data.{key} belongs to none of several tasks: give task.tasks.{first}.data.{key}."
            for key in own
        ]
    problems += [
        f"task.data.{split}: {file} does not exist."
        for split, given in files.items()
        for file in given
        if not Path(file).expanduser().is_file()
    ]
    return problems


def _check_model(config: DictConfig) -> list[str]:
    model, problems = config.model, []
    if "path" in model and not OmegaConf.is_missing(model, "path") and not model.path:
        problems.append(
            f"model.path={model.path} names no model: give a folder or a name on the hub."
        )
    if model.attention not in ATTENTIONS:
        problems.append(not_among("model.attention", model.attention, ATTENTIONS))
    elif model.attention != "sdpa" and config.batch.shared_prefix:
        problems.append(
            f"model.attention={model.attention} cannot share a prefix between questions: set "
            "batch.shared_prefix=false, or model.attention=sdpa."
        )
    if model.dtype not in DTYPES:
        problems.append(not_among("model.dtype", model.dtype, DTYPES))
    return problems + placement_problems(config)


def _check_loggers(config: DictConfig) -> list[str]:
    problems = []
    chosen = config.logger or {}
    for name in chosen:
        if name not in LOGGERS:
            problems.append(not_among("logger", name, LOGGERS))
    wandb = chosen.get("wandb") or {}
    for key in wandb:
        if key not in WANDB:
            problems.append(not_among("logger.wandb", key, WANDB))
    if wandb and wandb.get("mode") not in WANDB_MODES:
        problems.append(not_among("logger.wandb.mode", wandb.get("mode"), WANDB_MODES))
    return problems


def _check_names(config: DictConfig) -> list[str]:
    from dramaeval.training.objectives import parse

    problems = []
    for part, node in parts_of(config.task).items():
        if "labels" in node and node.labels not in node.label_policies:
            key = f"{where_of(config.task, part)}.labels"
            problems.append(not_among(key, node.labels, node.label_policies))
    if "objective" not in config.trainer:
        return problems
    try:
        terms = parse(config.trainer.objective, config.trainer.objectives)
    except ValueError as error:
        return [*problems, str(error)]
    return problems + objective_weights(terms, config.trainer.objective)


def _check_shots(config: DictConfig) -> list[str]:
    inside = [
        f"{where_of(config.task, part)}.shots={node.shots}: a mixture shows no examples: "
        "set it to 0."
        for part, node in parts_of(config.task).items()
        if config.task.get("tasks") and node.get("shots")
    ]
    if inside:
        return inside
    shots = config.task.get("shots") or 0
    if not isinstance(shots, int) or shots < 0:
        return [f"task.shots={shots} must be a whole number from 0 on."]
    if shots and "train" not in split_files(config.task.data):
        return [f"task.shots={shots} takes its examples from task.data.train: give a JSONL file."]
    return []


def _check_evaluation(config: DictConfig) -> list[str]:
    """Problems of the numbers of ``evaluation`` and of ``report``."""
    evaluation, comparison, problems = config.evaluation, config.report, []
    if evaluation.phrasings < 2:
        problems.append(f"evaluation.phrasings={evaluation.phrasings} must be 2 or more.")
    if evaluation.prosody_clips < 10:
        problems.append(f"evaluation.prosody_clips={evaluation.prosody_clips} must be 10 or more.")
    if Stage.report in config.stages:
        if comparison.split not in (None, "val", "test"):
            problems.append(f"report.split={comparison.split} must be val or test.")
        if comparison.phase not in (None, "zero_shot", "final"):
            problems.append(f"report.phase={comparison.phase} must be zero_shot or final.")
    return problems
