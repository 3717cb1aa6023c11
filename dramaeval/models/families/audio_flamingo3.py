"""Audio Flamingo 3: Qwen2-Audio's encoder, trained differently, and a projector of two layers.

Architecture: Goel et al. 2025, "Audio Flamingo 3" (arXiv 2507.08128). It cuts audio into windows of 30 s, of which a
prompt has up to 20 for a clip, one after the other in the place of one placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import AudioFlamingo3ForConditionalGeneration as PlainAudioFlamingo3

from dramaeval.models.families.qwen2_audio import PROJECTIONS, PooledWhisperJudge, Qwen2Audio


class FlamingoJudge(PooledWhisperJudge):
    """A judge with Audio Flamingo 3's encoder."""

    def encode_window(self, window: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """The encoder over 30 s; it masks the padding."""
        tower = self.model.audio_tower
        valid = torch.arange(window.shape[2], device=window.device)[None] < frames[:, None]
        features = window.to(tower.conv1.weight.dtype)
        return tower(features, input_features_mask=valid).last_hidden_state


class AudioFlamingo3ForConditionalGeneration(FlamingoJudge, PlainAudioFlamingo3):
    """transformers' Audio Flamingo 3 with the judge's forward pass; same weights, same names, same files."""


class AudioFlamingo3(Qwen2Audio):
    """Any Audio Flamingo 3 checkpoint in transformers' format; see `Family` for the arguments."""

    judge_class = AudioFlamingo3ForConditionalGeneration
    names_windows = False
    projections: Mapping[str, Sequence[str]] = {
        **PROJECTIONS,
        "projector": ("linear_1", "linear_2"),
    }
