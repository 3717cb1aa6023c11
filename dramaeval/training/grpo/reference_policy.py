"""The reference policy: the model before training, from which GRPO measures the distance (KL).

There is no second model. If a new adapter does not change its base yet, the reference is the model with the adapter
disabled. Otherwise (an adapter that was trained before, virtual tokens, full fine-tuning) the trained weights are
replaced during a pass by their values before training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

from dramaeval.compat.deepspeed import is_partitioned, swapped_shards

#: The value of an adapter's weight with which the base is unchanged; None if this depends on the other weights.
_NEUTRAL = {
    "lora_A": None,
    "lora_B": 0.0,
    "lora_E": 0.0,
    "ia3_l": 1.0,
    "lora_magnitude_vector": None,
}


class ReferencePolicy:
    """The reference of a model: its trained weights at the time of construction, or its disabled adapter.

    Args:
        model: the model before the first step and before DeepSpeed splits its weights.
    """

    def __init__(self, model: Any) -> None:
        self.adapter_off = is_neutral_adapter(model)
        self.weights: dict[str, torch.Tensor] = {
            name: weight.detach().clone()
            for name, weight in model.named_parameters()
            if weight.requires_grad and not self.adapter_off
        }

    @contextmanager
    def applied(self, model: Any, engine: Any = None) -> Iterator[None]:
        """Turn a model into its reference in this block.

        Args:
            model: the unwrapped model of the constructor.
            engine: the wrapped model; with ZeRO-3, DeepSpeed's engine.
        """
        if self.adapter_off:
            with model.disable_adapter():
                yield
            return
        if is_partitioned(model):
            with swapped_shards(model, engine, self.weights):
                yield
            return
        weights = {n: w for n, w in model.named_parameters() if n in self.weights}
        trained = {name: weight.data for name, weight in weights.items()}
        try:
            for name, weight in weights.items():
                weight.data = self.weights[name].to(weight.device, weight.dtype)
            yield
        finally:
            for name, weight in weights.items():
                weight.data = trained[name]


def is_neutral_adapter(model: Any) -> bool:
    """Whether a model's adapter leaves its base unchanged: a low-rank product of 0, or factors of 1.

    This is the case before the training of an adapter, unless its initialisation changes the base (PiSSA, OLoRA).
    """
    if not isinstance(model, PeftModel) or model.active_peft_config.is_prompt_learning:
        return False
    # In AdaLoRA the singular values (lora_E) make the product 0.
    skipped = {"lora_B"} if model.active_peft_config.peft_type == "ADALORA" else set()
    decided = False
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        kind = next((kind for kind in _NEUTRAL if f".{kind}." in name), None)
        if kind is None:
            return False
        value = _NEUTRAL[kind]
        if value is None or kind in skipped:
            continue
        if not bool((weight.detach() == value).all()):
            return False
        decided = True
    return decided
