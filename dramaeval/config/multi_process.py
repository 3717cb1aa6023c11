"""Checks of what several processes and DeepSpeed need, before anything starts."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval import startup
from dramaeval.config.batch_size import BatchError, step_size
from dramaeval.config.problems import near_match_hint
from dramaeval.config.schema import Device, Stage

#: DeepSpeed's settings that the run fills in, and the setting of ours that decides.
FILLED = {
    "train_batch_size": "batch.global",
    "train_micro_batch_size_per_gpu": "batch.per_device",
    "gradient_accumulation_steps": "trainer.args.gradient_accumulation_steps or batch.global",
    "gradient_clipping": "trainer.args.max_grad_norm",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "optimizer": "trainer.args.optim",
    "scheduler": "trainer.args.lr_scheduler_type",
    "steps_per_print": "trainer.args.logging_steps",
    "zero_allow_untested_optimizer": "trainer.args.optim",
    "tensorboard": "logger=tensorboard",
    "wandb": "logger=wandb",
}
#: DeepSpeed's settings that are the user's; it ignores what it does not know, and has no list of its own.
AT_TOP = (
    "zero_optimization",
    "zero_force_ds_cpu_optimizer",
    "communication_data_type",
    "seq_parallel_communication_data_type",
    "prescale_gradients",
    "gradient_predivide_factor",
    "data_types",
    "disable_allgather",
    "disable_python_gc",
    "activation_checkpointing",
    "checkpoint",
    "aio",
    "flops_profiler",
    "comms_logger",
    "wall_clock_breakdown",
    "memory_breakdown",
    "dump_state",
    "log_level",
)


def check_together(config: DictConfig) -> list[str]:
    """Problems of ``processes``, ``batch`` and ``zero``."""
    trains = Stage.train in config.stages
    problems = []
    if config.processes < 1:
        problems.append(f"processes={config.processes} must be 1 or more.")
    elif trains:
        try:
            step_size(config, config.processes)
        except BatchError as error:
            problems.append(str(error))
    if config.zero is not None:
        problems += _check_zero(config) if trains else _check_evaluation(config)
    return problems


def _check_evaluation(config: DictConfig) -> list[str]:
    return [
        "zero=… shares the memory of training, but stages has no train: leave zero=none. Evaluation is spread "
        "over processes=N without it."
    ]


def _check_zero(config: DictConfig) -> list[str]:
    import torch

    settings = config.zero.get("zero_optimization")
    if not OmegaConf.is_dict(settings) or settings.get("stage") not in (1, 2, 3):
        return [
            "zero.zero_optimization.stage must be 1, 2 or 3: choose zero=zero1, zero2 or zero3."
        ]
    problems = [
        f"zero.{key}=auto: give a value; nothing is left to chance." for key in _autos(config.zero)
    ]
    problems += _unknown_at_top(config.zero)
    problems += _unknown(settings)
    gpu = torch.cuda.is_available()
    if config.device is Device.cpu and gpu:
        problems.append(
            "zero=… takes the GPU that it finds: set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU, or "
            "device=auto."
        )
    if not gpu and not config.plan:
        problems += _check_on_cpu(config, settings)
    return problems


def _check_on_cpu(config: DictConfig, settings: Any) -> list[str]:
    problems = []
    for name in ("offload_optimizer", "offload_param"):
        if (settings.get(name) or {}).get("device", "none") != "none":
            problems.append(
                f"zero.zero_optimization.{name} moves memory from a GPU to the host, and there is no GPU here: "
                f"choose zero=zero{settings.stage}."
            )
    if config.model.dtype not in ("auto", "float32"):
        problems.append(
            f"model.dtype={config.model.dtype} with zero=… needs a GPU: use model.dtype=float32 here."
        )
    return problems


def _autos(node: Any, key: str = "") -> list[str]:
    """Keys whose value is "auto"."""
    found = []
    for name, value in node.items():
        path = f"{key}.{name}" if key else str(name)
        if OmegaConf.is_dict(value):
            found += _autos(value, path)
        elif value == "auto":
            found.append(path)
    return found


def _unknown(settings: Any) -> list[str]:
    """Keys that DeepSpeed does not know; it would ignore them."""
    import torch

    if not torch.cuda.is_available():
        startup.skip_gpu_search()
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    fields = DeepSpeedZeroConfig.model_fields
    known = [*fields, *(field.alias for field in fields.values() if field.alias)]
    problems = []
    for name in settings:
        if name not in known:
            hint = near_match_hint(str(name), known)
            problems.append(f"zero.zero_optimization.{name} is not a setting of DeepSpeed's.{hint}")
    return problems


def _unknown_at_top(zero: Any) -> list[str]:
    """Keys beside ``zero_optimization`` that DeepSpeed would ignore, or the run would overwrite."""
    problems = []
    for key in zero:
        if key in FILLED:
            problems.append(f"zero.{key} is set by the run: use {FILLED[key]}.")
        elif key not in AT_TOP:
            hint = near_match_hint(str(key), AT_TOP)
            problems.append(
                f"zero.{key} is not a setting of DeepSpeed's, or not one for here.{hint}"
            )
    return problems
