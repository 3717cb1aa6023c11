"""Qwen2-Audio as a judge: the encoder at the clip's true length, and where the parts of the model are.

Architecture: Chu et al. 2024, "Qwen2-Audio Technical Report" (arXiv 2407.10759); the encoder is that of
Whisper large-v3, followed by a pooling of two frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import Qwen2AudioConfig, Qwen2AudioEncoder
from transformers import Qwen2AudioForConditionalGeneration as PlainQwen2Audio
from transformers.masking_utils import create_bidirectional_mask

from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import JudgeModel

#: Mel frames of 30 s, which transformers' encoder insists on.
WINDOW = 3000


def audio_tokens(frames: int) -> int:
    """How many language-model positions a clip of so many mel frames takes (25 a second)."""
    return ((frames - 1) // 2 + 1) // 2


def encode(
    encoder: Qwen2AudioEncoder, input_features: torch.Tensor, frames: torch.Tensor
) -> torch.Tensor:
    """Run the audio encoder over the frames that exist, instead of over 30 s.

    Args:
        encoder: the audio tower; its own modules and weights are used.
        input_features: ``[clips, mel bins, width]`` as `dramaeval.data.logmel.pad_features` makes them.
        frames: ``[clips]`` valid frames.

    Returns:
        ``[clips, width // 4, d_model]``; rows past `audio_tokens` of a clip are padding. Equal on the
        valid part to transformers' own pass over 3,000 frames, whose mask hides the padding likewise.
    """
    weight = encoder.conv1.weight
    # Weights that a device map leaves in memory or on disk are nowhere until their layer is called.
    place = input_features.device if weight.is_meta else weight.device
    hidden = nn.functional.gelu(encoder.conv1(input_features.to(place, weight.dtype)))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    length = hidden.shape[1]
    positions = torch.arange(length, device=hidden.device)
    # Called as a module, not read as a weight, so that ZeRO-3 gathers it.
    hidden = hidden + encoder.embed_positions(positions)
    hidden = nn.functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    valid = positions[None] < ((frames.to(hidden.device) - 1) // 2 + 1)[:, None]
    mask = None if bool(valid.all()) else valid[:, None, None, :]
    if mask is not None and encoder.config._attn_implementation != "sdpa":
        lowest = torch.finfo(hidden.dtype).min
        mask = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, lowest)
    for layer in encoder.layers:
        if encoder.training and encoder.layerdrop > 0 and torch.rand([]) < encoder.layerdrop:
            continue
        hidden = layer(hidden, mask)
    pooled = encoder.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
    return encoder.layer_norm(pooled)


class PoolingModel(JudgeModel):
    """Mixed into models that hear with Whisper's encoder, a pooling of two frames and a projector."""

    model: Any
    config: Any

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """See `JudgeModel.encode_audio`; ``feature_frames`` are mel frames of 10 ms."""
        tower = self.model.audio_tower
        trained = any(weight.requires_grad for weight in tower.parameters())
        # A frozen tower needs no graph; in eval mode it has no dropout either way.
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            if "encoder" in self.plain:
                missing = WINDOW - input_features.shape[2]
                # Whatever stands past a clip's end is masked.
                window = nn.functional.pad(input_features, (0, missing))
                encoded = self.encode_window(window, feature_frames)
            else:
                encoded = encode(tower, input_features, feature_frames)
        return [
            encoded[row, : audio_tokens(int(frames))] for row, frames in enumerate(feature_frames)
        ]

    def encode_window(self, window: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """transformers' own pass, ``[clips, mel bins, WINDOW]`` to ``[clips, WINDOW // 4, width]``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes 30 s.")

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """See `JudgeModel.project_audio`."""
        projected = self.model.multi_modal_projector(torch.cat(encoded))
        return list(projected.split([len(one) for one in encoded]))

    @property
    def audio_token(self) -> int:
        """See `JudgeModel.audio_token`."""
        return int(self.config.audio_token_id)

    @property
    def decoder(self) -> nn.Module:
        """See `JudgeModel.decoder`."""
        return self.model.language_model


class Qwen2AudioForConditionalGeneration(PoolingModel, PlainQwen2Audio):
    """transformers' Qwen2-Audio with the judge's forward pass; same weights, same names, same files."""

    def encode_window(self, window: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """See `PoolingModel.encode_window`; the mask is made as `Qwen2AudioModel.forward` makes it."""
        tower = self.model.audio_tower
        steps = torch.arange(window.shape[2] // 2, device=window.device)
        valid = steps[None] < ((frames.to(window.device) - 1) // 2 + 1)[:, None]
        mask = create_bidirectional_mask(
            config=tower.config,
            inputs_embeds=window.new_zeros(*valid.shape, 1, dtype=tower.conv1.weight.dtype),
            attention_mask=valid,
        )
        return tower(window, attention_mask=mask).last_hidden_state


class Qwen2Audio(Family):
    """Any Qwen2-Audio checkpoint; see `Family` for the arguments."""

    parts: Mapping[str, str] = {
        "llm": "model.language_model",
        "audio": "model.audio_tower",
        "projector": "model.multi_modal_projector",
    }
    projections: Mapping[str, Sequence[str]] = {
        "llm": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        "audio": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        "projector": ("linear",),
    }

    # Sinusoids; transformers leaves them trainable.
    fixed = ("model.audio_tower.embed_positions.weight",)

    def model_class(self) -> Any:
        """See `Family.model_class`."""
        return Qwen2AudioForConditionalGeneration

    def configuration(self, values: Mapping[str, Any]) -> Any:
        """See `Family.configuration`."""
        return Qwen2AudioConfig(**values)

    def audio_tokens(self, frames: int) -> int:
        """See `Family.audio_tokens`."""
        return audio_tokens(frames)

    def encoded_frames(self, frames: int) -> int:
        """See `Family.encoded_frames`."""
        return WINDOW if "encoder" in self.plain else frames

    def decoder_of(self, model: Any) -> Any:
        """See `Family.decoder_of`."""
        return model.model.language_model
