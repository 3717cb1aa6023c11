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


class Reference:
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
    def in_place(self, model: Any) -> Iterator[None]:
        """Let a model be its reference in here.

        Args:
            model: the one it was made of, unwrapped.
        """
        if self.off:
            with model.disable_adapter():
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
