"""Gemma 3n: a conformer encoder with a fixed number of prompt positions per clip, and Gemma's nested language model.

Architecture: the classes of transformers; Google published the weights without a paper. The encoder is that of Zhang et
al. 2023, "Google USM" (arXiv 2303.01037); the language model has alternating updates (Baykal et al. 2023, arXiv
2301.13310), learned residual connections (Menghani et al. 2024, arXiv 2411.07501), an embedding of each token for every
layer, and layers that take keys and values of earlier ones. A clip has 188 positions whatever its length: those after its
last step hold the embedding of one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import AutoModel, Gemma3nVisionConfig, PreTrainedModel
from transformers import Gemma3nForConditionalGeneration as PlainGemma3n

from dramaeval.models.families.gemma import GemmaFamily, GemmaJudge
from dramaeval.models.forward.judge_model import gradients_if_trained, on_device_of, unpadded
from dramaeval.models.planning.flops import Shape


class NoImagesConfig(Gemma3nVisionConfig):
    """The configuration of an image encoder without weights."""

    model_type = "gemma3n_no_images"


class NoImages(PreTrainedModel):
    """In the place of Gemma 3n's image encoder, which needs the package timm and which a judge does not use."""

    config_class = NoImagesConfig
    _supports_sdpa = True


AutoModel.register(NoImagesConfig, NoImages, exist_ok=True)


class Gemma3nForConditionalGeneration(GemmaJudge, PlainGemma3n):
    """transformers' Gemma 3n without its image encoder, with the judge's forward pass; same names, same files."""

    _keys_to_ignore_on_load_unexpected = (r"model\.vision_tower\.",)

    def __init__(self, config: Any) -> None:
        images = config.vision_config
        config.vision_config = NoImagesConfig(**images.to_dict())
        try:
            super().__init__(config)
        finally:
            config.vision_config = images

    def embed_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embeddings in which the marks of images and clips are those of their embedders, as in transformers."""
        embeddings = super().embed_text(input_ids)
        audio = self.model.embed_audio
        is_audio = input_ids >= audio.vocab_offset
        is_image = (input_ids >= self.model.embed_vision.vocab_offset) & ~is_audio
        is_audio = is_audio & (input_ids != self.audio_token)
        for embedder, positions in ((self.model.embed_vision, is_image), (audio, is_audio)):
            marks = embedder(input_ids=input_ids[positions])
            embeddings = embeddings.masked_scatter(positions[..., None], marks.to(embeddings))
        return embeddings

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode clips one by one: padding changes the values of a clip's last steps."""
        tower = self.model.audio_tower
        weight = tower.subsample_conv_projection.conv_0.conv.weight
        encoded = []
        with gradients_if_trained(tower):
            for clip in unpadded(on_device_of(weight, input_features), feature_frames):
                padding = clip.new_zeros(1, clip.shape[1], dtype=torch.bool)
                encoded.append(tower(clip.T[None], padding).last_hidden_state[0])
        return encoded

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the steps of all clips at once; the last token of the vocabulary fills the positions after a clip."""
        embedder = self.model.embed_audio
        projected = embedder(inputs_embeds=torch.cat(encoded)).split(list(map(len, encoded)))
        last = self.config.get_text_config().vocab_size - 1
        filling = embedder(input_ids=torch.tensor([last], device=projected[0].device))
        size = self.config.audio_soft_tokens_per_image
        return [torch.cat([clip, filling.expand(size - len(clip), -1)]) for clip in projected]


class Gemma3n(GemmaFamily):
    """Any Gemma 3n checkpoint; see `Family` for the arguments. The image encoder is neither built nor saved."""

    judge_class = Gemma3nForConditionalGeneration
    unused = ("model.embed_vision.",)
    clip_format = "\n\n{}{}{}\n\n"
    turn_end = "<end_of_turn>"
    #: transformers clips these layers' weights in training, which packed weights do not allow.
    unquantised: Sequence[str] = (".altup.",)

    @cached_property
    def _positions(self) -> int:
        """Prompt positions of a clip."""
        return self.read_configuration().audio_soft_tokens_per_image

    def audio_tokens(self, frames: int) -> int:
        """188 in the published checkpoints, whatever the length."""
        return self._positions if frames else 0

    def shape(self, configuration: Any) -> Shape:
        """The sizes with those of the conformer, whose layers have two feed-forward blocks."""
        audio = configuration.audio_config
        return Shape.of(
            configuration,
            inner=max(configuration.get_text_config().intermediate_size),
            audio=audio.hidden_size,
            audio_layers=audio.conf_num_hidden_layers,
            audio_inner=8 * audio.hidden_size,
            mel_bins=audio.input_feat_size,
        )
