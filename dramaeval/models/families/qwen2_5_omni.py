"""Qwen2.5-Omni's thinker, which takes audio and text; the talker, which generates speech, is left out.

Architecture: Xu et al. 2025, "Qwen2.5-Omni Technical Report" (arXiv 2503.20215). The encoder attends within windows of
two seconds and takes clips without padding. Position ids have three rows, for time, height and width. Without images
all three count the tokens; the language model expands one row to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as PlainThinker

from dramaeval.models.families.base import Family
from dramaeval.models.families.qwen2_audio import PROJECTIONS, audio_processor, audio_tokens
from dramaeval.models.forward.judge_model import (
    JudgeModel,
    gradients_if_trained,
    on_device_of,
    unpadded,
)


class Qwen2_5OmniThinkerForConditionalGeneration(JudgeModel, PlainThinker):  # noqa: N801 - the name in transformers
    """transformers' thinker with the judge's forward pass; same weights, same names, same files."""

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode all clips in one row without padding, as the tower takes them."""
        tower = self.model.audio_tower
        clips = torch.cat(unpadded(input_features, feature_frames), dim=1)
        clips = on_device_of(tower.conv1.weight, clips)
        with gradients_if_trained(tower):
            output = tower(clips, feature_lens=feature_frames.to(clips.device))
        steps = list(map(audio_tokens, feature_frames.tolist()))
        return list(output.last_hidden_state.split(steps))

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """The encodings themselves: the tower's last layer is the projector."""
        return encoded


class Qwen25Omni(Family):
    """Any Qwen2.5-Omni checkpoint, complete or the thinker alone; see `Family` for the arguments.

    The last layer of the encoder is its projector, and belongs to ``audio``.
    """

    judge_class = Qwen2_5OmniThinkerForConditionalGeneration
    #: The input of its feature extractor, so that every clip is one window.
    longest_clip = 300.0
    names_windows = False
    plain_options: Sequence[str] = ("log_mel", "head")
    #: The image encoder, and the embeddings of marks for streaming.
    unused = ("model.visual.", "model.audio_tower.audio_bos_eos_token.")
    parts: Mapping[str, str] = {"llm": "model.language_model", "audio": "model.audio_tower"}
    projections: Mapping[str, Sequence[str]] = {
        "llm": PROJECTIONS["llm"],
        "audio": (*PROJECTIONS["audio"], "proj"),
    }

    def audio_tokens(self, frames: int) -> int:
        """25 per second."""
        return audio_tokens(frames)

    def processor(self, checkpoint: Path | None = None) -> Any:
        """A processor without images, which writes the same prompts; Qwen2.5-Omni's own needs torchvision."""
        names = ("audio_token", "audio_bos_token", "audio_eos_token")
        return audio_processor(self.files(checkpoint), {name: name for name in names})
