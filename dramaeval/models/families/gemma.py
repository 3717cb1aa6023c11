"""What Gemma 3n and Gemma 4 have in common: embeddings for every layer, a limit on logits, features, and the prompt."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from dramaeval.data.logmel import VERSION, ClipFeatures, LogMel, require_no_dither
from dramaeval.models.chat_templates import end_of_turn
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.models.families.qwen2_audio import PROJECTIONS, audio_processor
from dramaeval.models.forward.judge_model import SCORE_HEAD, JudgeModel

#: The families of this package, by ``model_type`` of a checkpoint.
_KINDS = ("gemma3n", "gemma4", "gemma4_unified")


class CappedJudge(JudgeModel):
    """A judge that limits its logits."""

    def logits_at(self, answer_index: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """`JudgeModel.logits_at`, with the soft cap that transformers applies after the vocabulary head."""
        logits = super().logits_at(answer_index, **inputs)
        cap = self.config.get_text_config().final_logit_softcapping
        if cap is None or hasattr(self, SCORE_HEAD):
            return logits
        return torch.tanh(logits / cap) * cap


class GemmaJudge(CappedJudge):
    """A judge whose language model embeds each token once more for every layer, and limits its logits."""

    model: Any

    def answer_logits(
        self,
        *,
        input_ids: torch.Tensor,
        virtual_embeddings: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """`JudgeModel.answer_logits` with the embeddings for the layers; a virtual token gets those of a clip's position."""
        ids = input_ids
        if virtual_embeddings is not None:
            count = virtual_embeddings.shape[1]
            ids = nn.functional.pad(ids, (count, 0), value=self.audio_token)
        return super().answer_logits(
            input_ids=input_ids,
            virtual_embeddings=virtual_embeddings,
            per_layer_inputs=self.embed_for_layers(ids),
            **kwargs,
        )

    def embed_for_layers(self, input_ids: torch.Tensor) -> torch.Tensor | None:
        """Embeddings ``[rows, tokens, layers, size]``, as transformers computes them for a prompt with audio."""
        return self.decoder.get_per_layer_inputs(input_ids)


class GemmaLogMel(LogMel):
    """Log-mel features as Gemma's feature extractor computes them for a clip alone, without masked frames.

    Args:
        extractor: computes the features.
        seconds: the longest clip.
    """

    def __init__(self, extractor: Any, seconds: float) -> None:
        require_no_dither(extractor)
        self._extractor = extractor
        self.sampling_rate: int = extractor.sampling_rate
        self.hop: int = extractor.hop_length
        self.max_samples = int(seconds * self.sampling_rate)
        values = json.dumps(extractor.to_dict(), default=np.ndarray.tolist, sort_keys=True)
        digest = hashlib.blake2b(values.encode(), digest_size=8).hexdigest()
        #: Identifies the transform: equal names give equal values.
        self.name = f"gemma {VERSION} {self.max_samples} {digest}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip; arguments and errors are those of `LogMel`. A clip below one window has no frames."""
        self._require_valid(waveform)
        output = self._extractor([waveform], max_length=self.max_samples, return_tensors="np")
        values, mask = output["input_features"][0], output["input_features_mask"][0]
        frames = int(mask.sum())
        floor = math.log(float(self._extractor.mel_floor))
        return ClipFeatures(np.ascontiguousarray(values[:frames].T), frames, floor)


class GemmaFamily(Family):
    """A Gemma with an audio encoder; see `Family` for the arguments."""

    own_log_mel: ClassVar[type[LogMel]] = GemmaLogMel
    #: Why a checkpoint whose configuration has no ``audio_config`` is refused; the sentence begins with its name.
    without_audio: str = ""
    #: A clip in a prompt: the mark before it, the placeholder, and the mark after it.
    clip_format: str
    plain_options = ("head",)
    parts: Mapping[str, str] = {
        "llm": "model.language_model",
        "audio": "model.audio_tower",
        "projector": "model.embed_audio",
    }
    projections: Mapping[str, Sequence[str]] = {
        "llm": PROJECTIONS["llm"],
        "audio": (
            "q_proj",
            "k_proj",
            "v_proj",
            "post",
            "ffw_layer_1",
            "ffw_layer_2",
            "linear_start",
            "linear_end",
        ),
        "projector": ("embedding_projection",),
    }

    def stored_configuration(self, checkpoint: Path | None = None) -> Any:
        """The configuration in the model's files.

        Raises:
            ModelError: it cannot be read, takes no audio, or is another architecture's, from which transformers would
                take what fits.
        """
        own = self.model_class().config_class
        files = self.files(checkpoint)
        values, _ = files.read(own.get_config_dict)
        kind = values.get("model_type", own.model_type)
        if kind != own.model_type:
            choice = f"model={kind}" if kind in _KINDS else "another model="
            raise ModelError(
                f"The model {files.source} is a {kind}, and not a {own.model_type}: choose {choice}."
            )
        configuration = super().stored_configuration(checkpoint)
        if self.without_audio and configuration.audio_config is None:
            raise ModelError(f"The Gemma 4 in {self.path} {self.without_audio}")
        return configuration

    def processor(self, checkpoint: Path | None = None) -> Any:
        """A processor without images, which writes the same prompts; Gemma's own needs torchvision."""
        tokens = {
            "audio_token": "audio_token",
            "audio_bos_token": "boa_token",
            "audio_eos_token": "eoa_token",
        }
        return audio_processor(self.files(checkpoint), tokens)

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """A question's messages as text, with the marks that Gemma's processor writes around a clip."""
        text = str(super().render(processor, messages))
        marks = (processor.audio_bos_token, processor.audio_token, processor.audio_eos_token)
        return text.replace(processor.audio_token, self.clip_format.format(*marks))

    def end_of_turn(self, processor: Any) -> str:
        """The text that the checkpoint's chat template writes after an answer."""
        return end_of_turn(processor) or self.turn_end


def layer_sizes(text: Any) -> dict[str, int]:
    """Means over the layers of Gemma 4's language model, as `Shape.of` takes them.

    Layers differ in the size of their heads and in their feed-forward width. Layers that take the keys and values of
    earlier ones have no weights for them, and one matrix gives both where ``attention_k_eq_v`` is set.
    """
    count = text.num_hidden_layers
    layers = [text.per_layer_config[number] for number in range(count)]
    keys = 0
    for layer, mode, kind in zip(layers, text.kv_sharing_modes, text.layer_types, strict=True):
        if mode != "reuse":
            matrices = 1 if text.attention_k_eq_v and kind != "sliding_attention" else 2
            keys += matrices * layer.num_key_value_heads * layer.head_dim
    wide = text.num_kv_shared_layers if text.use_double_wide_mlp else 0
    return {
        "queries": text.num_attention_heads * sum(layer.head_dim for layer in layers) // count,
        "keys": keys // (2 * count),
        "inner": text.intermediate_size * (count + wide) // count,
    }
