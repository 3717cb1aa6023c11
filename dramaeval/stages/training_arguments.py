"""Builds the trainer's arguments and PEFT's configuration and counts the steps, all before weights load."""

from __future__ import annotations

import math
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from dramaeval.compat.accelerate import set_process_group
from dramaeval.compat.deepspeed import skip_shared_memory_library
from dramaeval.config.batch_size import ACCUMULATION, PER_DEVICE, StepSize, step_size
from dramaeval.config.extras import report_to
from dramaeval.config.keys import is_a
from dramaeval.config.literal import instantiate, plain
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.distributed.spawn import available_cores
from dramaeval.distributed.zero import fill_zero_config
from dramaeval.models.adapters import adapted_parts, restrict
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import REGRESSION, SCORE_HEAD
from dramaeval.stages.compatibility import adapt_setting
from dramaeval.stages.run_folder import RunFolder
from dramaeval.training.callbacks.adalora import schedule
from dramaeval.training.grpo.arguments import completion_arguments, in_completions
from dramaeval.training.grpo.settings import trains_by_reward

#: The largest number of loader processes for a training on a GPU; a process prepares 8 clips in 54 ms (docs/benchmarks.md).
MAX_LOADERS = 4


def build_arguments(
    config: DictConfig, folder: RunFolder, device: torch.device, *, validates: bool
) -> Any | None:
    """The trainer's arguments; None without training.

    Args:
        folder: the run folder, which gets the checkpoints.
        device: the device of the training.
        validates: whether there is a val split. Without it, validation and the selection of the best checkpoint are
            turned off.

    Raises:
        ConfigError: the trainer refuses a value.
    """
    if Stage.train not in config.stages:
        return None
    step = step_size(config, config.processes)
    arguments: dict[str, Any] = {
        "output_dir": str(folder.checkpoints),
        "seed": config.seed,
        PER_DEVICE: step.per_device,
        ACCUMULATION: step.accumulation,
        "deepspeed": None,
        # The run itself attaches TensorBoard and W&B, with their folders.
        "report_to": report_to(config) or "none",
        "use_cpu": device.type == "cpu",
        "bf16": _computes_in_bfloat16(config, device),
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    if trains_by_reward(config):
        arguments |= completion_arguments(config, step)
    else:
        arguments |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}
        arguments |= loader_arguments(config, device)
    if report_to(config) and config.trainer.args.get("run_name") is None:
        arguments["run_name"] = folder.path.name
    if config.debug:
        # Errors in loading data then have the traceback of this process.
        arguments |= {"dataloader_num_workers": 0, "dataloader_prefetch_factor": None}
        arguments |= {"dataloader_persistent_workers": False}
    if config.zero is not None and not config.plan:
        arguments |= _zero_arguments(config, arguments, in_completions(config, step), device)
    if not validates:
        arguments |= {"eval_strategy": "no", "load_best_model_at_end": False}
    try:
        built = instantiate(config.trainer.args, **arguments)
    except InstantiationException as error:
        raise ConfigError(f"trainer.args: {error.__cause__ or error}") from None
    if arguments["deepspeed"] and device.type == "cpu":
        set_process_group(built)
    # Each process uses one GPU; transformers would distribute a batch over all visible GPUs.
    built._n_gpu = min(built.n_gpu, 1)
    return built


def _computes_in_bfloat16(config: DictConfig, device: torch.device) -> bool:
    chosen = config.trainer.args.get("bf16")
    if chosen is None:
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return bool(chosen)


def _zero_arguments(
    config: DictConfig, arguments: dict[str, Any], step: StepSize, device: torch.device
) -> dict[str, Any]:
    if device.type == "cpu":
        skip_shared_memory_library()
    zero = fill_zero_config(plain(config.zero), {**config.trainer.args, **arguments}, step)
    # With use_cpu=True, transformers would silently run plain data parallelism.
    return {"deepspeed": zero, "use_cpu": False}


def loader_arguments(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """The arguments for loader processes, if the settings do not give their number.

    On a CPU there are none, because the training uses all cores. The processes persist between epochs and keep
    their clips in memory.
    """
    if config.trainer.args.dataloader_num_workers is not None:
        return {}
    workers = 0
    if device.type == "cuda":
        # One core is kept for the training itself.
        workers = max(0, min(MAX_LOADERS, available_cores() // config.processes - 1))
    return {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}


def build_adapter(config: DictConfig, family: Family, steps: int | None = None) -> Any | None:
    """PEFT's configuration, restricted to the parts that ``adapt`` names; None without an adapter.

    Args:
        family: the model family, which names the layers of each part.
        steps: the number of steps of the training, for schedules that the settings do not give.

    Raises:
        ConfigError: PEFT refuses a value, or ``adapt`` names no part of the model.
    """
    if config.peft is None or Stage.train not in config.stages:
        return None
    node: dict[str, Any] = plain(config.peft)
    if is_a(node, "AdaLoraConfig"):
        node = _with_schedule(node, steps)
    if family.head == REGRESSION:
        node["modules_to_save"] = [*(node.get("modules_to_save") or []), SCORE_HEAD]
    if in_full := new_modules(config, family):
        if is_a(node, "PromptLearningConfig"):
            raise ConfigError(_untrainable(config, family))
        node["modules_to_save"] = [*(node.get("modules_to_save") or []), *in_full]
    try:
        return restrict(instantiate(node), family, adapt_setting(config))
    except (InstantiationException, ValueError) as error:
        raise ConfigError(f"peft: {error.__cause__ or error}") from None


def new_modules(config: DictConfig, family: Family) -> list[str]:
    """The modules with new weights, which are trained in full; they are named as in ``peft.modules_to_save``.

    Raises:
        ValueError: ``adapt`` names no part of the model.
    """
    parts = family.parts_in_full(adapted_parts(adapt_setting(config), family))
    return [family.parts[part].rpartition(".")[2] for part in parts]


def _untrainable(config: DictConfig, family: Family) -> str:
    name = config.peft["_target_"].rpartition(".")[2]
    return (
        f"peft: the {' and '.join(family.new_parts)} of this model has new weights, which are trained in full beside an "
        f"adapter, and {name} saves virtual tokens alone. Use another method, for example peft=lora; or train the "
        "projector first (experiment=align), then set checkpoint=RUN and model.train_projector=false."
    )


def _with_schedule(node: dict[str, Any], steps: int | None) -> dict[str, Any]:
    """Fill in the phases of AdaLoRA that the settings do not give."""
    values = {key: value for key, value in node.items() if value is not None}
    total = values.get("total_step", steps)
    if total is None:
        return node
    if steps is not None and total != steps:
        raise ConfigError(
            f"peft.total_step={total}, but this run takes {steps} steps: the ranks would become final too "
            "early or too late. Leave it out, or set trainer.args.max_steps to the same number."
        )
    filled = {**schedule(total), **values}
    if total - filled["tfinal"] < 2:
        raise ConfigError(
            f"peft=adalora needs two steps before its ranks are final, but total_step={total} and tfinal="
            f"{filled['tfinal']}: train longer (trainer.args.max_steps), or lower peft.tfinal."
        )
    return filled


def planned_steps(records: int, args: Any, processes: int = 1, prompts: int = 1) -> int:
    """The number of optimizer steps of a training; the last step of an epoch may have fewer clips.

    Args:
        prompts: see `clips_per_pass`.
    """
    if args.max_steps > 0:
        return int(args.max_steps)
    accumulation, clips = args.gradient_accumulation_steps, clips_per_pass(args, prompts)
    if hasattr(args, "num_generations"):
        # Incomplete generations are dropped; see `dramaeval.training.grpo.prompt_groups.GenerationBatchSampler`.
        generations = records // (clips * args.steps_per_generation * processes)
        passes = generations * args.steps_per_generation * args.num_iterations
        per_epoch = math.ceil(passes / accumulation)
    else:
        per_epoch = math.ceil(records / (clips * accumulation * processes))
    return math.ceil(max(per_epoch, 1) * args.num_train_epochs)


def clips_per_pass(args: Any, prompts: int = 1) -> int:
    """The number of clips, or pairs, per forward pass and process; GRPO's batch size counts completions instead.

    Args:
        prompts: `Task.prompts_per_record`, which matters in GRPO only.
    """
    completions = args.num_generations * prompts if hasattr(args, "num_generations") else 1
    return int(args.per_device_train_batch_size // completions)
