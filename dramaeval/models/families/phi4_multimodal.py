"""Phi-4-multimodal: a conformer encoder of 12.5 steps per second, a projector of two layers, and a Phi-4-mini.

Architecture: Abouelenin et al. 2025, "Phi-4-Mini Technical Report" (arXiv 2503.01743). A checkpoint has a LoRA adapter for
speech beside it, which its authors switch on for prompts with audio. A judge's prompts have audio, so that
`Phi4Multimodal.load` merges it into the weights; an adapter that a judge trains comes on top.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Phi4MultimodalForCausalLM as PlainPhi4Multimodal

from dramaeval.data.logmel import VERSION, ClipFeatures, LogMel
from dramaeval.models.adapters import merge_own_adapter
from dramaeval.models.chat_templates import end_of_turn, render_as_texts
from dramaeval.models.families.base import Family
from dramaeval.models.families.qwen2_audio import audio_processor
from dramaeval.models.forward.judge_model import (
    JudgeModel,
    gradients_if_trained,
    on_device_of,
    unpadded,
)
from dramaeval.models.planning.flops import Shape

log = logging.getLogger(__name__)

#: The folder of the checkpoint's adapter for prompts with audio.
SPEECH_ADAPTER = "speech-lora"
#: Mel frames of a prompt position.
REDUCTION = 8


class Phi4MultimodalForCausalLM(JudgeModel, PlainPhi4Multimodal):
    """transformers' Phi-4-multimodal with the judge's forward pass; same weights, same names, same files."""

    @property
    def audio_token(self) -> int:
        """The id of the placeholder."""
        return int(self.config.audio_config.audio_token_id)

    @property
    def decoder(self) -> Any:
        """The language model, which also holds the encoders."""
        return self.model

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode clips one by one: the encoder's mask does not keep steps from attending to padding."""
        tower = self.model.embed_tokens_extend.audio_embed.encoder
        weight = tower.embed.out.weight
        features = on_device_of(weight, input_features).to(weight.dtype)
        with gradients_if_trained(tower):
            clips = unpadded(features, feature_frames)
            return [tower(clip.T[None], None)[0] for clip in clips]

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the steps of all clips at once, with the projector for prompts without images."""
        embedder = self.model.embed_tokens_extend.audio_embed
        inner = nn.functional.gelu(embedder.up_proj_for_speech(torch.cat(encoded)))
        projected = embedder.down_proj_for_speech(inner)
        return list(projected.split(list(map(len, encoded))))


class PhiLogMel(LogMel):
    """Log-mel features as transformers' Phi-4-multimodal computes them for a clip alone.

    Args:
        extractor: computes the features.
        seconds: the longest clip.
    """

    def __init__(self, extractor: Any, seconds: float) -> None:
        self._extractor = extractor
        self.sampling_rate: int = extractor.sampling_rate
        self.hop: int = extractor.hop_length
        self.n_fft: int = extractor.n_fft
        self.mel_bins: int = extractor.feature_size
        self.max_samples = int(seconds * self.sampling_rate)
        settings = (
            extractor.win_length,
            self.n_fft,
            self.hop,
            self.mel_bins,
            extractor.preemphasis,
        )
        filters = float(np.abs(extractor.mel_filters).sum())
        #: Identifies the transform: equal names give equal values.
        self.name = f"phi4 {VERSION} {self.max_samples} {self.sampling_rate} {settings} {filters}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip; arguments and errors are those of `LogMel`. A clip below 25 ms has no frames."""
        self._require_valid(waveform)
        if waveform.size < self._extractor.win_length:
            return ClipFeatures(np.empty((self.mel_bins, 0), np.float32), 0, 0.0)
        output = self._extractor(waveform, sampling_rate=self.sampling_rate, return_tensors="np")
        values = np.ascontiguousarray(output["audio_input_features"][0].T)
        return ClipFeatures(values, values.shape[1], 0.0)  # the logarithm's argument is at least 1


class Phi4Multimodal(Family):
    """Any Phi-4-multimodal checkpoint in transformers' format; see `Family` for the arguments.

    The projector belongs to ``audio``.
    """

    judge_class = Phi4MultimodalForCausalLM
    own_log_mel = PhiLogMel
    #: The encoder takes longer clips. Above 4,096 positions the language model takes other rotary frequencies for a
    #: whole batch, so that the scores of a clip would depend on others; a clip of this length has 3,000.
    longest_clip = 240.0
    names_windows = False
    plain_options = ("head",)
    turn_end = "<|end|>"
    #: The image encoder, and the projector for prompts with images.
    unused = (".image_embed.", "_proj_for_vision_speech.")
    parts: Mapping[str, str] = {
        "llm": "model.layers",
        "audio": "model.embed_tokens_extend.audio_embed",
    }
    projections: Mapping[str, Sequence[str]] = {
        "llm": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
        "audio": (
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_up_proj",
            "down_proj",
            "up_proj_for_speech",
            "down_proj_for_speech",
        ),
    }

    def audio_tokens(self, frames: int) -> int:
        """12.5 per second."""
        return -(-frames // REDUCTION)

    def freeze_fixed(self, model: Any) -> None:
        """Freeze, with the language model, also the weights before and after its layers."""
        super().freeze_fixed(model)
        if self.freeze_llm:
            model.model.embed_tokens.requires_grad_(False)
            model.model.norm.requires_grad_(False)

    def shape(self, configuration: Any) -> Shape:
        """The sizes with those of the conformer, whose layers have two gated feed-forward blocks."""
        audio = configuration.audio_config
        return Shape.of(
            configuration,
            audio=audio.hidden_size,
            audio_layers=audio.num_blocks,
            audio_inner=3 * audio.intermediate_size,
            mel_bins=audio.input_size,
        )

    def load(
        self, device: torch.device, checkpoint: Path | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`Family.load`, with the checkpoint's own adapter for speech merged into the weights.

        Raises:
            ModelError: as `Family.load`, or the adapter does not fit.
        """
        model = super().load(device, checkpoint, *args, **kwargs)
        merged = merge_own_adapter(model, self.files(checkpoint), SPEECH_ADAPTER)
        if merged is not None:
            return merged
        if checkpoint is None:
            log.warning(
                "The model %s has no folder %s with an adapter for speech: its weights are used as they are.",
                self.path,
                SPEECH_ADAPTER,
            )
        return model

    def processor(self, checkpoint: Path | None = None) -> Any:
        """A processor without images, which writes the same prompts; Phi-4-multimodal's own needs torchvision."""
        return audio_processor(self.files(checkpoint), {"audio_token": "audio_token"})

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """A question's messages as text: the chat template takes texts, in which a clip is its placeholder."""
        return render_as_texts(processor, messages)

    def end_of_turn(self, processor: Any) -> str:
        """The text that the checkpoint's chat template writes after an answer."""
        template = processor.chat_template
        return end_of_turn(processor.tokenizer, chat_template=template) or self.turn_end
