"""The judge with clip encodings as input, for stages that leave the audio tower frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from dramaeval.compat.transformers import encode_frames
from dramaeval.data.logmel import ClipFeatures, pad_features
from dramaeval.models.families.qwen2_audio import (
    Qwen2AudioForConditionalGeneration,
    audio_tokens,
)
from dramaeval.models.forward import shared_prefix

ATTENTION = "shared_prefix_float32"


class EncodedClipJudge(Qwen2AudioForConditionalGeneration):
    """The judge with clip encodings of its audio tower as input instead of log-mels."""

    def embed_audio(
        self,
        input_features: torch.Tensor,
        feature_frames: torch.Tensor,
        windows: Sequence[int] = (),
    ) -> list[torch.Tensor]:
        """Project encodings ``[clips, d_model, longest]``, of which ``feature_frames`` are real."""
        projected = self.model.multi_modal_projector(input_features.transpose(1, 2))
        return [projected[row, : int(n)] for row, n in enumerate(feature_frames)]


@torch.no_grad()
def encode_clips(
    judge: Qwen2AudioForConditionalGeneration,
    clips: Sequence[ClipFeatures],
    size: int = 32,
) -> list[ClipFeatures]:
    """The tower's output for each clip: ``values`` ``[d_model, frames]``, one frame for each audio token."""
    order = np.argsort([clip.frames for clip in clips])
    encoded: list[ClipFeatures] = [clips[0]] * len(clips)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        features, frames = pad_features([clips[i] for i in rows])
        outputs = encode_frames(judge.model.audio_tower, features, frames)
        for row, output, n in zip(rows, outputs, frames, strict=True):
            tokens = audio_tokens(int(n))
            values = output[:tokens].T.contiguous().half().numpy()
            encoded[row] = ClipFeatures(values=values, frames=tokens, floor=0.0)
    return encoded


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Shared-prefix attention outside autocast: on CPU its backward pass is slower in bfloat16."""
    with torch.autocast("cpu", enabled=False):
        output, weights = shared_prefix.shared_prefix_attention(
            module, query.float(), key.float(), value.float(), *args, **kwargs
        )
    return output, weights


def encoded_clip_judge(judge: Qwen2AudioForConditionalGeneration) -> EncodedClipJudge:
    """A copy of the judge that takes clip encodings, its tower frozen."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    copy = EncodedClipJudge(judge.config)
    copy.load_state_dict(judge.state_dict())
    decoder: Any = copy.decoder
    decoder.set_attn_implementation(ATTENTION)
    copy.model.audio_tower.requires_grad_(False)
    return copy.train()
