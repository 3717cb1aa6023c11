"""Qwen2-Audio: Whisper large-v3's encoder, a pooling of two frames, a linear projector and a language model.

Architecture: Chu et al. 2024, "Qwen2-Audio Technical Report" (arXiv 2407.10759). A checkpoint may hold any language
model of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoTokenizer, Qwen2AudioProcessor
from transformers import Qwen2AudioForConditionalGeneration as PlainQwen2Audio
from transformers.masking_utils import create_bidirectional_mask

from dramaeval.compat.transformers import encode_frames
from dramaeval.models.adapters import linear_layers
from dramaeval.models.chat_templates import end_of_turn
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import JudgeModel, gradients_if_trained
from dramaeval.models.loading import ModelFiles

#: Mel frames of 30 s, which transformers' encoder requires.
WINDOW = 3000
#: The layers that get adapters, with a language model like Qwen2 or Llama.
PROJECTIONS: Mapping[str, Sequence[str]] = {
    "llm": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "audio": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "projector": ("linear",),
}


def audio_tokens(frames: int) -> int:
    """Number of prompt positions of a clip of so many mel frames: 25 per second."""
    return ((frames - 1) // 2 + 1) // 2


def audio_processor(files: ModelFiles, tokens: Mapping[str, str]) -> Any:
    """Qwen2-Audio's processor around the tokenizer, feature extractor and chat template of a model's files.

    It takes no images, and suits models whose own processor needs torchvision for them.

    Args:
        files: of the model.
        tokens: for arguments of that processor (``audio_token``, ``audio_bos_token``, ``audio_eos_token``) the attributes
            of the tokenizer that hold their values; an attribute that the tokenizer lacks is left out.

    Raises:
        ModelError: the files cannot be read, or hold no chat template.
    """
    tokenizer = files.read(AutoTokenizer.from_pretrained)
    extractor = files.read(AutoFeatureExtractor.from_pretrained)
    values, _ = files.read(Qwen2AudioProcessor.get_processor_dict)
    template = values.get("chat_template") or tokenizer.chat_template
    if not template:
        raise ModelError(
            f"The model {files.source} has no chat template: its folder needs chat_template.jinja (or .json)."
        )
    given = {
        argument: token
        for argument, attribute in tokens.items()
        if (token := getattr(tokenizer, attribute, None))
    }
    return Qwen2AudioProcessor(extractor, tokenizer, chat_template=template, **given)


class PooledWhisperJudge(JudgeModel):
    """A judge with Whisper's encoder, a pooling of two frames and a projector; a family defines `encode_window`."""

    model: Any

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode clips at their true length, or over 30 s with ``model.plain=[encoder]``."""
        tower = self.model.audio_tower
        with gradients_if_trained(tower):
            if "encoder" in self.plain:
                missing = WINDOW - input_features.shape[2]
                window = nn.functional.pad(input_features, (0, missing))
                encoded = self.encode_window(window, feature_frames)
            else:
                encoded = encode_frames(tower, input_features, feature_frames)
        counts = map(audio_tokens, feature_frames.tolist())
        return [clip[:count] for clip, count in zip(encoded, counts, strict=True)]

    def encode_window(self, window: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """The transformers encoder over 30 s, with everything past a clip's end masked.

        Args:
            window: ``[clips, mel bins, WINDOW]``.
            frames: int64 ``[clips]``, valid frames.

        Returns:
            ``[clips, WINDOW // 4, width]``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode_window.")

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the steps of all clips at once."""
        projected = self.model.multi_modal_projector(torch.cat(encoded))
        return list(projected.split(list(map(len, encoded))))


class Qwen2AudioForConditionalGeneration(PooledWhisperJudge, PlainQwen2Audio):
    """transformers' Qwen2-Audio with the judge's forward pass; same weights, same names, same files."""

    def encode_window(self, window: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """The encoder over 30 s, with the mask of `Qwen2AudioModel.forward`."""
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

    judge_class = Qwen2AudioForConditionalGeneration
    parts: Mapping[str, str] = {
        "llm": "model.language_model",
        "audio": "model.audio_tower",
        "projector": "model.multi_modal_projector",
    }
    longest_clip = 600.0
    #: Sinusoids, which transformers leaves trainable.
    fixed: Sequence[str] = ("model.audio_tower.embed_positions.weight",)

    @cached_property
    def projections(self) -> Mapping[str, Sequence[str]]:  # type: ignore[override]  # read from the model
        """`PROJECTIONS`, with every linear layer of the checkpoint's own language model."""
        decoder = self.skeleton().get_submodule(self.parts["llm"])
        return {**PROJECTIONS, "llm": linear_layers(decoder)}

    def audio_tokens(self, frames: int) -> int:
        """25 per second."""
        return audio_tokens(frames)

    def encoded_frames(self, frames: int) -> int:
        """The frames of the clip, or those of whole windows of 30 s with ``model.plain=[encoder]``."""
        return -(-frames // WINDOW) * WINDOW if "encoder" in self.plain else frames

    def end_of_turn(self, processor: Any) -> str:
        """The text that the checkpoint's chat template writes after an answer, or its end-of-text token."""
        return end_of_turn(processor) or processor.tokenizer.eos_token or self.turn_end
