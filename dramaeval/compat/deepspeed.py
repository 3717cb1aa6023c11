"""Private parts of DeepSpeed, and of transformers' integration of it."""

from __future__ import annotations

import contextlib
import io
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

_FORCE, _FORBID = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def skip_shared_memory_library() -> None:
    """Let DeepSpeed communicate through gloo on a CPU.

    Reaches: ``deepspeed.ops.__compatible_ops__``.
    Why: otherwise DeepSpeed compiles a library at its first start, which takes minutes and needs a C++ compiler.
    Since: DeepSpeed 0.17.
    Remove when: DeepSpeed has a setting for the library.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def is_partitioned(model: nn.Module) -> bool:
    """Whether ZeRO-3 has split the weights; all processes must then take part in every forward pass.

    Reaches: the attribute ``ds_id`` of a parameter.
    Why: a split parameter is empty between passes, and no public attribute marks it as split.
    Since: DeepSpeed 0.17.
    Remove when: DeepSpeed has a public function for this.
    """
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


@contextlib.contextmanager
def unpartitioned_weights() -> Iterator[None]:
    """Load models unsplit inside this block, even if ZeRO-3 splits their weights in the training.

    Reaches: ``transformers.integrations.deepspeed._hf_deepspeed_config_weak_ref``.
    Why: under ZeRO-3 transformers splits the weights while it loads them. The judge could then not be evaluated before
    the training, and the saved files would have wrong names.
    Since: transformers 5.0.
    Remove when: ``from_pretrained`` has an argument for this.
    """
    from transformers.integrations import deepspeed as integration

    reference = integration._hf_deepspeed_config_weak_ref
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration._hf_deepspeed_config_weak_ref = reference


@contextlib.contextmanager
def weights_only_loading(*, deepspeed: bool = False) -> Iterator[None]:
    """Let every `torch.load` in this block read tensors and plain values only.

    Args:
        deepspeed: whether to allow the classes that DeepSpeed saves as well.

    Reaches: PyTorch's environment variables, and the classes that DeepSpeed saves.
    Why: transformers passes ``weights_only=True`` for its files. DeepSpeed passes False, and a pickle can run code.
    Since: DeepSpeed 0.17.
    Remove when: DeepSpeed reads its checkpoints with ``weights_only=True``.

    Raises:
        pickle.UnpicklingError: a file holds an object of another class.
    """
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORBID)}
    os.environ[_FORCE] = "1"
    try:
        with torch.serialization.safe_globals(_saved_classes() if deepspeed else []):
            yield
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _saved_classes() -> list[Any]:
    """The classes in checkpoints of ZeRO 1, 2 and 3 with 16 or 32 bits, which hold numbers only."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]


@contextlib.contextmanager
def universal_checkpoints(join: Callable[[Path], bool]) -> Iterator[None]:
    """Let the trainer read checkpoints of another number of processes in this block.

    Args:
        join: converts a checkpoint to the universal format if the number of processes differs; returns whether it did.

    Reaches: ``transformers.trainer.deepspeed_load_checkpoint``, the engine's ``_config``, and the parameter
    groups and states of ZeRO's optimizer.
    Why: transformers has no setting for DeepSpeed's universal format. When DeepSpeed 0.19 reads this format at stage 3,
    all parameter groups get the first group's weight decay, and all states share one step counter, which then
    increases once for each group at every step.
    Since: transformers 5.0, DeepSpeed 0.19.
    Remove when: transformers passes ``load_universal_checkpoint`` on, and DeepSpeed restores each group's weight
    decay and each state's step counter.
    """
    from transformers import trainer

    original = trainer.deepspeed_load_checkpoint

    def load(engine: Any, checkpoint: str, load_module_strict: bool = True) -> None:
        is_joined = join(Path(checkpoint))
        engine._config.load_universal_checkpoint = is_joined
        decays = [group["weight_decay"] for group in engine.optimizer.param_groups]
        original(engine, checkpoint, load_module_strict=load_module_strict)
        if is_joined:
            separate_groups(engine.optimizer, decays)

    trainer.deepspeed_load_checkpoint = load
    try:
        yield
    finally:
        trainer.deepspeed_load_checkpoint = original


def separate_groups(optimizer: Any, decays: Sequence[float]) -> None:
    """Give each parameter group its weight decay and each state a step counter; see `universal_checkpoints`."""
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay
    for state in optimizer.optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def write_universal(source: Path, target: Path) -> None:
    """Convert a checkpoint's states into DeepSpeed's universal format.

    Reaches: ``deepspeed.checkpoint.ds_to_universal.main`` with the arguments of its command line.
    Why: DeepSpeed offers the conversion as a script only.
    Since: DeepSpeed 0.19.
    Remove when: DeepSpeed offers a function.
    """
    from deepspeed.checkpoint import ds_to_universal

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ds_to_universal.main(
            Namespace(
                input_folder=str(source),
                output_folder=str(target),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )


@contextlib.contextmanager
def swapped_shards(
    model: Any, engine: Any, replacements: Mapping[str, torch.Tensor]
) -> Iterator[None]:
    """Replace the values of weights that ZeRO-3 has split, inside this block.

    Args:
        model: the model whose parameters hold shards.
        engine: DeepSpeed's engine of the model.
        replacements: complete weights by the names of the model's parameters.

    Reaches: ``weight.ds_tensor``, and the engine's ``empty_partition_cache``, ``dp_world_size`` and
    ``global_rank``.
    Why: DeepSpeed's function sets a weight as a whole, and gathers it in every process first.
    Since: DeepSpeed 0.17.
    Remove when: DeepSpeed can set a process's shard.
    """
    weights = [
        (w, replacements[name]) for name, w in model.named_parameters() if name in replacements
    ]
    engine.empty_partition_cache()  # weights that are already gathered have the old values
    before = [weight.ds_tensor.clone() for weight, _ in weights]
    try:
        for weight, value in weights:
            weight.ds_tensor.copy_(_shard(value, weight.ds_tensor, engine))
        yield
    finally:
        engine.empty_partition_cache()
        for (weight, _), data in zip(weights, before, strict=True):
            weight.ds_tensor.copy_(data)


def _shard(value: torch.Tensor, like: torch.Tensor, engine: Any) -> torch.Tensor:
    """This process's part of a weight. DeepSpeed splits the flat weight into equal parts and pads the last one."""
    size = like.numel()
    flat = torch.nn.functional.pad(
        value.flatten(), (0, size * engine.dp_world_size - value.numel())
    )
    return flat[engine.global_rank * size :][:size].to(like.device, like.dtype)
