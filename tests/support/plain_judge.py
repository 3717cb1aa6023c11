"""The tiny judge in plain transformers; tests compare logits and log-probabilities with it."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor
from transformers.modeling_outputs import BaseModelOutput

from dramaeval.config.schema import PACKAGE

TINY = PACKAGE / "models" / "tiny"


@cache
def plain_judge() -> Qwen2AudioForConditionalGeneration:
    """The tiny judge, loaded once per session; tests must not change it."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(TINY).eval()
    encode_each_clip_once(model)
    return model


@cache
def plain_processor(side: str = "left") -> Qwen2AudioProcessor:
    """The tiny judge's processor with padding on this side; tests must not change it."""
    processor = Qwen2AudioProcessor.from_pretrained(TINY)
    processor.tokenizer.padding_side = side
    return processor


def encode_each_clip_once(model: Qwen2AudioForConditionalGeneration) -> None:
    """Cache the outputs of the audio tower.

    Transformers pads each clip to 30 s, and tests compute logits for many texts with the same clip. Without the cache
    the tower takes most of the time.
    """
    tower = model.model.audio_tower
    encode = tower.forward
    kept: dict[bytes, torch.Tensor] = {}

    def encode_or_take(
        input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **rest: Any
    ) -> Any:
        if torch.is_grad_enabled():
            return encode(input_features, attention_mask=attention_mask, **rest)
        keys = []
        for row, features in enumerate(input_features):
            mask = None if attention_mask is None else attention_mask[row : row + 1]
            keys.append(_digest(features, mask))
            if keys[-1] not in kept:
                output = encode(features[None], attention_mask=mask, **rest)
                kept[keys[-1]] = output.last_hidden_state[0]
        return BaseModelOutput(torch.stack([kept[key] for key in keys]))

    tower.forward = encode_or_take


def _digest(*values: torch.Tensor | None) -> bytes:
    """A hash of the bytes of these tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        if value is not None:
            digest.update(value.contiguous().numpy().tobytes())
    return digest.digest()
