"""The policy that training began with, which GRPO measures its distance (KL) from.

It is never a second model. Where a fresh adapter does nothing yet, the reference is the base with the adapter
off. Everywhere else (an adapter that was trained before, virtual tokens, which do something from the start,
full fine-tuning) it is the same model with the trained weights as they were, put in place for the pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

from dramaeval.compat.deepspeed_weights import is_partitioned


class ReferencePolicy:
    """The model as it was when this was made.

    Args:
        model: before the first step, and before DeepSpeed splits its weights.
    """

    def __init__(self, model: Any) -> None:
        self.off = does_nothing(model)
        self.kept: dict[str, torch.Tensor] = {}
        if not self.off:
            self.kept = {
                name: weight.detach().clone()
                for name, weight in model.named_parameters()
                if weight.requires_grad
            }

    @contextmanager
    def in_place(self, model: Any, engine: Any = None) -> Iterator[None]:
        """Let a model be its reference in here.

        Args:
            model: the one it was made of, unwrapped.
            engine: what wraps it in training; DeepSpeed's, where ZeRO-3 has split the weights.
        """
        if self.off:
            with model.disable_adapter():
                yield
            return
        if is_partitioned(model):
            with self._shards_in_place(model, engine):
                yield
            return
        weights = [
            (w, self.kept[name]) for name, w in model.named_parameters() if name in self.kept
        ]
        trained = [weight.data for weight, _ in weights]
        try:
            for weight, kept in weights:
                weight.data = kept.to(weight.device, weight.dtype)
            yield
        finally:
            for (weight, _), data in zip(weights, trained, strict=True):
                weight.data = data

    @contextmanager
    def _shards_in_place(self, model: Any, engine: Any) -> Iterator[None]:
        """The same where each process holds a shard of every weight, which passes gather and let go again."""
        weights = [
            (w, self.kept[name]) for name, w in model.named_parameters() if name in self.kept
        ]
        engine.empty_partition_cache()  # what is gathered are the policy's weights
        trained = [weight.ds_tensor.clone() for weight, _ in weights]
        try:
            for weight, kept in weights:
                weight.ds_tensor.copy_(_shard(kept, weight.ds_tensor, engine))
            yield
        finally:
            engine.empty_partition_cache()
            for (weight, _), data in zip(weights, trained, strict=True):
                weight.ds_tensor.copy_(data)


def _shard(whole: torch.Tensor, like: torch.Tensor, engine: Any) -> torch.Tensor:
    """This process's part of a weight, as DeepSpeed splits it: equal parts of it flat, the last padded."""
    size = like.numel()
    flat = torch.nn.functional.pad(
        whole.flatten(), (0, size * engine.dp_world_size - whole.numel())
    )
    return flat[engine.global_rank * size :][:size].to(like.device, like.dtype)


def does_nothing(model: Any) -> bool:
    """Whether a model's adapter leaves its base as it is: a low-rank product of 0, or factors of 1.

    Such adapters are those that nobody has trained yet. An initialisation that changes the base's weights
    (PiSSA, OLoRA) has no such product.
    """
    if not isinstance(model, PeftModel) or model.active_peft_config.is_prompt_learning:
        return False
    neutral = {"lora_A": None, "lora_B": 0.0, "lora_E": 0.0, "ia3_l": 1.0}
    neutral |= {"lora_magnitude_vector": None}
    deciding = False
    rank_wise = model.active_peft_config.peft_type == "ADALORA"
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        kind = next((kind for kind in neutral if f".{kind}." in name), None)
        if kind is None:
            return False
        if rank_wise and kind == "lora_B":  # AdaLoRA's zeros are its singular values, lora_E
            continue
        value = neutral[kind]
        if value is not None:
            deciding = True
            if not bool((weight.detach() == value).all()):
                return False
    return deciding
