"""GLM-ASR: an encoder with rotary positions over a window of 30 s, a projector of groups of four steps, and a Llama.

Architecture: the classes of transformers; Z.ai published the weights (GLM-ASR-Nano-2512) without a paper. The encoder
includes the silence after a clip. Windows of a longer clip follow each other in the place of one placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import GlmAsrForConditionalGeneration as PlainGlmAsr

from dramaeval.models.families.qwen2_audio import PROJECTIONS, WINDOW, Qwen2Audio
from dramaeval.models.families.voxtral import filled_window
from dramaeval.models.forward.judge_model import JudgeModel, gradients_if_trained, on_device_of

#: Encoder steps of a prompt position.
GROUP = 4


def audio_tokens(frames: int) -> int:
    """Number of prompt positions of a clip of so many mel frames: 12.5 per second."""
    return ((frames - 1) // 2 + 1) // GROUP


class GlmAsrForConditionalGeneration(JudgeModel, PlainGlmAsr):
    """transformers' GLM-ASR with the judge's forward pass; same weights, same names, same files."""

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode windows of 30 s, without a mask for the silence after each clip."""
        tower = self.model.audio_tower
        weight = tower.conv1.weight
        window = on_device_of(weight, filled_window(input_features))
        with gradients_if_trained(tower):
            encoded = tower(window.to(weight.dtype)).last_hidden_state
        counts = [GROUP * audio_tokens(count) for count in feature_frames.tolist()]
        return [clip[:count] for clip, count in zip(encoded, counts, strict=True)]

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the groups of all clips at once."""
        groups = torch.cat(encoded).reshape(-1, self.config.audio_config.intermediate_size)
        projected = self.model.multi_modal_projector(groups)
        return list(projected.split([len(clip) // GROUP for clip in encoded]))


class GlmAsr(Qwen2Audio):
    """Any GLM-ASR checkpoint in transformers' format; see `Family` for the arguments."""

    judge_class = GlmAsrForConditionalGeneration
    names_windows = False
    plain_options = ("log_mel", "head")
    fixed = ()
    projections: Mapping[str, Sequence[str]] = {
        **PROJECTIONS,
        "audio": ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"),
        "projector": ("linear_1", "linear_2"),
    }

    def audio_tokens(self, frames: int) -> int:
        """12.5 per second."""
        return audio_tokens(frames)

    def encoded_frames(self, frames: int) -> int:
        """Whole windows of 30 s."""
        return -(-frames // WINDOW) * WINDOW
