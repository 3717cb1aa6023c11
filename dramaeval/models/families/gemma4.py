"""Gemma 4 with an audio encoder (E2B and E4B): a conformer of 25 steps per second before Gemma's language model.

Architecture: the classes of transformers; Google published the weights without a paper. The encoder is that of Zhang et
al. 2023, "Google USM" (arXiv 2303.01037). The language model has an embedding of each token for every layer, and layers
that take keys and values of earlier ones, as in Gemma 3n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4ForConditionalGeneration as PlainGemma4

from dramaeval.models.errors import ModelError
from dramaeval.models.families.gemma import GemmaFamily, GemmaJudge, layer_sizes
from dramaeval.models.forward.judge_model import gradients_if_trained, on_device_of
from dramaeval.models.planning.flops import Shape


class Gemma4ForConditionalGeneration(GemmaJudge, PlainGemma4):
    """transformers' Gemma 4 with the judge's forward pass; same weights, same names, same files."""

    def embed_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embeddings in which placeholders have that of the padding token, as in transformers."""
        return super().embed_text(self._without_placeholders(input_ids))

    def embed_for_layers(self, input_ids: torch.Tensor) -> torch.Tensor | None:
        """`GemmaJudge.embed_for_layers`; None for a model that has no such embeddings."""
        if not self.config.get_text_config().hidden_size_per_layer_input:
            return None
        return super().embed_for_layers(self._without_placeholders(input_ids))

    def _without_placeholders(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The ids with the padding token in the place of audio, images and videos."""
        config = self.config
        tokens = (config.audio_token_id, config.image_token_id, config.video_token_id)
        placeholders = torch.isin(input_ids, torch.tensor(tokens, device=input_ids.device))
        return input_ids.masked_fill(placeholders, config.get_text_config().pad_token_id)

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode all clips at once; the tower masks the padding in every layer."""
        tower = self.model.audio_tower
        features = on_device_of(tower.output_proj.weight, input_features.transpose(1, 2))
        frames = torch.arange(features.shape[1], device=features.device)
        with gradients_if_trained(tower):
            output = tower(features, frames < feature_frames.to(features.device)[:, None])
        steps = output.attention_mask.sum(1).tolist()
        return [clip[:count] for clip, count in zip(output.last_hidden_state, steps, strict=True)]

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the steps of all clips at once."""
        projected = self.model.embed_audio(inputs_embeds=torch.cat(encoded))
        return list(projected.split(list(map(len, encoded))))


class Gemma4(GemmaFamily):
    """Any Gemma 4 checkpoint with an audio encoder; see `Family` for the arguments."""

    judge_class = Gemma4ForConditionalGeneration
    unused = ("model.vision_tower.", "model.embed_vision.")
    clip_format = "{}{}{}"
    turn_end = "<turn|>"
    without_audio = "has no audio encoder (audio_config): give one that has (E2B or E4B)."
    #: transformers clamps the inputs and outputs of the audio layers, each of which is inside a module of its name.
    projections: Mapping[str, Sequence[str]] = {
        **GemmaFamily.projections,
        "audio": (*(f"{name}.linear" for name in GemmaFamily.projections["audio"]), "output_proj"),
    }

    def audio_tokens(self, frames: int) -> int:
        """25 per second."""
        return (frames + 3) // 4

    def processor(self, checkpoint: Path | None = None) -> Any:
        """`GemmaFamily.processor`.

        Raises:
            ModelError: as there, or the padding tokens of tokenizer and model differ. A clip's positions have the
                embeddings of the model's, which a trainer of transformers sets to the tokenizer's.
        """
        processor = super().processor(checkpoint)
        given = processor.tokenizer.pad_token_id
        own = self.read_configuration(checkpoint).get_text_config().pad_token_id
        if given != own:
            raise ModelError(
                f"The model {self.files(checkpoint).source} pads with token {own} (pad_token_id of text_config in "
                f"config.json), its tokenizer with {given}: training would change the embeddings of clips. Set both to "
                "the same token."
            )
        return processor

    def attention_implementations(self) -> str | dict[str, str]:
        """The language model's; the audio tower has one of its own, which transformers calls eager."""
        return {"text_config": self.attention, "audio_config": "eager"}

    def shape(self, configuration: Any) -> Shape:
        """The sizes with means over the layers, and those of the conformer, whose layers have two feed-forward blocks."""
        audio = configuration.audio_config
        return Shape.of(
            configuration,
            **layer_sizes(configuration.get_text_config()),
            audio=audio.hidden_size,
            audio_layers=audio.num_hidden_layers,
            audio_inner=8 * audio.hidden_size,
            mel_bins=128,
        )
