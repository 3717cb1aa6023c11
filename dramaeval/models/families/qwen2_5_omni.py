"""Qwen2.5-Omni's thinker as a judge: the half of the model that hears and reads, without the one that speaks.

Architecture: Xu et al. 2025, "Qwen2.5-Omni Technical Report" (arXiv 2503.20215). Its encoder attends within
windows of two seconds and never sees padding. Its positions have three rows, for time, height and width;
without pictures all three count the tokens, which is what the language model makes of one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen2_5OmniThinkerConfig
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as PlainThinker

from dramaeval.models.families.base import Family, ModelError
from dramaeval.models.families.qwen2_audio import audio_tokens
from dramaeval.models.forward.judge_model import JudgeModel


class Qwen2_5OmniThinkerForConditionalGeneration(JudgeModel, PlainThinker):  # noqa: N801 - its name
    """transformers' thinker with the judge's forward pass; same weights, same names, same files."""

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """See `JudgeModel.encode_audio`; ``feature_frames`` are mel frames of 10 ms."""
        tower = self.model.audio_tower
        counts = feature_frames.tolist()
        # The tower takes the frames of all clips in one row, without padding.
        heard = [row[:, :count] for row, count in zip(input_features, counts, strict=True)]
        trained = any(weight.requires_grad for weight in tower.parameters())
        weight = tower.conv1.weight
        place = input_features.device if weight.is_meta else weight.device
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            encoded = tower(
                torch.cat(heard, dim=1).to(place), feature_lens=feature_frames.to(place)
            ).last_hidden_state
        return list(encoded.split([audio_tokens(count) for count in counts]))

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """See `JudgeModel.project_audio`: the tower's last layer has done it."""
        return encoded

    @property
    def audio_token(self) -> int:
        """See `JudgeModel.audio_token`."""
        return int(self.config.audio_token_id)

    @property
    def decoder(self) -> nn.Module:
        """See `JudgeModel.decoder`."""
        return self.model.language_model


class Qwen25Omni(Family):
    """Any Qwen2.5-Omni checkpoint, whole or the thinker alone; see `Family` for the arguments.

    The last layer of the encoder is its projector, and counts to ``audio``.
    """

    quick = ("log_mel", "head", "last_layer")
    parts: Mapping[str, str] = {"llm": "model.language_model", "audio": "model.audio_tower"}
    projections: Mapping[str, Sequence[str]] = {
        "llm": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        "audio": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "proj"),
    }
    # Never used on the way from a clip to an answer.
    _blind = ("model.visual.", "model.audio_tower.audio_bos_eos_token.")

    def freeze_fixed(self, model: Any) -> None:
        """Freeze also what takes no part: the eyes, and marks that the tower keeps for streaming."""
        super().freeze_fixed(model)
        for name, weight in model.named_parameters():
            if any(part in name for part in self._blind):
                weight.requires_grad_(False)

    def model_class(self) -> Any:
        """See `Family.model_class`."""
        return Qwen2_5OmniThinkerForConditionalGeneration

    def configuration(self, values: Mapping[str, Any]) -> Any:
        """See `Family.configuration`."""
        return Qwen2_5OmniThinkerConfig(**values)

    def audio_tokens(self, frames: int) -> int:
        """See `Family.audio_tokens`."""
        return audio_tokens(frames)

    def decoder_of(self, model: Any) -> Any:
        """See `Family.decoder_of`."""
        return model.model.language_model

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The hearing half of the processor, as Qwen2-Audio's, which renders and counts alike.

        The model's own would need torchvision, for pictures that a judge never gets.

        Raises:
            ModelError: the files are not there, or hold no chat template.
        """
        from transformers import AutoFeatureExtractor, AutoTokenizer, Qwen2AudioProcessor

        source = str(checkpoint) if checkpoint else self.path
        hub = self._hub_arguments(checkpoint)
        tokenizer = self._reading(source, lambda: AutoTokenizer.from_pretrained(source, **hub))
        extractor = self._reading(
            source, lambda: AutoFeatureExtractor.from_pretrained(source, **hub)
        )
        values, _ = self._reading(
            source, lambda: Qwen2AudioProcessor.get_processor_dict(source, **hub)
        )
        template = values.get("chat_template") or tokenizer.chat_template
        if not template:
            raise ModelError(
                f"The model {source} has no chat template: its folder needs chat_template.jinja (or .json)."
            )
        named = {
            name: token
            for name in ("audio_token", "audio_bos_token", "audio_eos_token")
            if (token := getattr(tokenizer, name, None))
        }
        return Qwen2AudioProcessor(extractor, tokenizer, chat_template=template, **named)
