"""Qwen3-Omni's thinker, which takes audio and text; the talker, which generates speech, is left out.

Architecture: Xu et al. 2025, "Qwen3-Omni Technical Report" (arXiv 2509.17765). The encoder (AuT) cuts a clip into chunks
of one second and attends within windows of eight; the language model is a mixture of experts. Position ids have three
rows, as in Qwen2.5-Omni.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import Qwen3OmniMoeThinkerForConditionalGeneration as PlainThinker

from dramaeval.data.logmel import ClipFeatures, LogMel
from dramaeval.models.families.qwen2_5_omni import Qwen25Omni
from dramaeval.models.families.qwen2_audio import PROJECTIONS
from dramaeval.models.forward.judge_model import (
    JudgeModel,
    gradients_if_trained,
    on_device_of,
    unpadded,
)
from dramaeval.models.planning.flops import Shape

#: Mel frames of a chunk, and its prompt positions.
CHUNK, CHUNK_TOKENS = 100, 13


class Qwen3OmniMoeThinkerForConditionalGeneration(JudgeModel, PlainThinker):
    """transformers' thinker with the judge's forward pass; same weights, same names, same files."""

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode clips one by one: the last values of a clip below one second depend on the longest chunk of a pass."""
        tower = self.model.audio_tower
        features = on_device_of(tower.conv2d1.weight, input_features)
        with gradients_if_trained(tower):
            return [
                tower(
                    clip, feature_lens=torch.tensor([clip.shape[1]], device=clip.device)
                ).last_hidden_state
                for clip in unpadded(features, feature_frames)
            ]

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """The encodings themselves: the tower's last layers are the projector."""
        return encoded


class UnpaddedLogMel(LogMel):
    """Whisper's log-mel of a clip alone, whose end is mirrored; the padded transform continues it with silence.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``.
        seconds: the longest clip.
    """

    def __init__(self, feature_extractor: Any, seconds: float) -> None:
        super().__init__(feature_extractor)
        self._extractor = feature_extractor
        self.max_samples = int(seconds * self.sampling_rate)
        self.name = f"unpadded {self.name}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip; arguments and errors are those of `LogMel`. A clip below 13 ms has no frames."""
        self._require_valid(waveform)
        if waveform.size <= self.n_fft // 2:  # too short to be mirrored
            return ClipFeatures(np.empty((self.mel_bins, 0), np.float32), 0, 0.0)
        output = self._extractor(
            waveform,
            sampling_rate=self.sampling_rate,
            padding=True,
            truncation=False,
            return_tensors="np",
        )
        values = np.ascontiguousarray(output["input_features"][0])
        return ClipFeatures(values, values.shape[1], max(float(values.max()) - 2.0, -1.5))


class Qwen3Omni(Qwen25Omni):
    """Any Qwen3-Omni checkpoint, complete or the thinker alone; see `Family` for the arguments.

    The last layers of the encoder are its projector, and belong to ``audio``. Adapters attach to the attention: the
    experts are no linear layers. The routers keep their weights in every training, because the loss has no term that
    balances the experts (``router_aux_loss_coef`` is not used).
    """

    judge_class = Qwen3OmniMoeThinkerForConditionalGeneration
    own_log_mel = UnpaddedLogMel
    #: The encoder has no limit; this one bounds the prompt (13 tokens per second) and the memory.
    longest_clip = 600.0
    plain_options = ("head",)
    fixed = (".mlp.gate.weight",)
    projections: Mapping[str, Sequence[str]] = {
        "llm": ("q_proj", "k_proj", "v_proj", "o_proj"),
        "audio": (*PROJECTIONS["audio"], "conv_out", "proj1", "proj2"),
    }

    def audio_tokens(self, frames: int) -> int:
        """13 per second, after three convolutions of stride 2."""
        full, rest = divmod(frames, CHUNK)
        return full * CHUNK_TOKENS + (rest + 7) // 8

    def shape(self, configuration: Any) -> Shape:
        """The sizes with the feed-forward width of the experts that a token passes."""
        text = configuration.get_text_config()
        return Shape.of(configuration, inner=text.moe_intermediate_size * text.num_experts_per_tok)
