"""Gemma 4 without encoders (12B, transformers' ``gemma4_unified``): samples of the waveform go into the projector.

Architecture: the classes of transformers; Google published the weights without a paper. A prompt position of a clip is 40
ms of its waveform: a normalisation and one linear layer map these samples into the language model. There is no audio
encoder, and so no part ``audio`` and nothing to keep in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Gemma4UnifiedForConditionalGeneration as PlainGemma4Unified

from dramaeval.data.logmel import FRAMES_PER_SECOND, VERSION, ClipFeatures, LogMel
from dramaeval.models.errors import ModelError
from dramaeval.models.families.gemma import CappedJudge, GemmaFamily, layer_sizes
from dramaeval.models.forward.judge_model import on_device_of, unpadded
from dramaeval.models.planning.flops import Shape

#: Frames of 10 ms in a prompt position.
FRAMES = 4


class Gemma4UnifiedForConditionalGeneration(CappedJudge, PlainGemma4Unified):
    """transformers' Gemma 4 without encoders, with the judge's forward pass; same weights, same names, same files."""

    model: Any

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """The samples of each position, ``[positions, 640]``; zeros fill the last one, as in the feature extractor."""
        encoded = []
        for clip in unpadded(input_features, feature_frames):
            filled = nn.functional.pad(clip, (0, -clip.shape[1] % FRAMES))
            encoded.append(filled.T.reshape(-1, FRAMES * len(clip)))
        return encoded

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the positions of all clips at once."""
        embedder = self.model.embed_audio
        samples = on_device_of(embedder.embedding_projection.weight, torch.cat(encoded))
        projected = embedder(inputs_embeds=samples)
        return list(projected.split(list(map(len, encoded))))


class WaveformFrames(LogMel):
    """The samples that Gemma 4's feature extractor gives for a clip alone, as columns of 10 ms.

    They stand in the place of a log-mel; silence is 0.

    Args:
        extractor: cuts the waveform into positions of 40 ms.
        seconds: the longest clip.
    """

    has_mel_bins = False

    def __init__(self, extractor: Any, seconds: float) -> None:
        self._extractor = extractor
        self.sampling_rate: int = extractor.sampling_rate
        self.hop: int = self.sampling_rate // FRAMES_PER_SECOND
        self.max_samples = int(seconds * self.sampling_rate)
        #: Identifies the transform: equal names give equal values.
        self.name = f"gemma4 unified {VERSION} {self.max_samples} {self.sampling_rate}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Cut one clip; arguments and errors are those of `LogMel`. Zeros fill the last column."""
        self._require_valid(waveform)
        samples = self._extractor([waveform], return_tensors="np")["input_features"][0]
        frames = math.ceil(waveform.size / self.hop)
        columns = samples.reshape(-1, self.hop)[:frames].T
        return ClipFeatures(np.ascontiguousarray(columns), frames, 0.0)


class Gemma4Unified(GemmaFamily):
    """Any Gemma 4 checkpoint without encoders; see `Family` for the arguments."""

    judge_class = Gemma4UnifiedForConditionalGeneration
    own_log_mel = WaveformFrames
    #: Neither transformers' feature extractor nor its processor cuts a clip, whatever its ``audio_seq_length``.
    longest_clip = 600.0
    names_windows = False
    unused = ("model.embed_vision.",)
    clip_format = "{}{}{}"
    turn_end = "<turn|>"
    without_audio = "takes no audio (audio_config): give one that does."
    parts: Mapping[str, str] = {"llm": "model.language_model", "projector": "model.embed_audio"}
    projections: Mapping[str, Sequence[str]] = {
        part: GemmaFamily.projections[part] for part in ("llm", "projector")
    }
    absent: Mapping[str, str] = {
        "audio": "It has no audio encoder: the waveform goes into the projector, see model.train_projector and "
        "adapt=projector."
    }

    def audio_tokens(self, frames: int) -> int:
        """25 per second."""
        return -(-frames // FRAMES)

    def processor(self, checkpoint: Path | None = None) -> Any:
        """`GemmaFamily.processor`.

        Raises:
            ModelError: as there, or a prompt position is not 40 ms of the waveform.
        """
        processor = super().processor(checkpoint)
        extractor = processor.feature_extractor
        given = getattr(extractor, "audio_samples_per_token", None)
        own = self.read_configuration(checkpoint).audio_config.audio_embed_dim
        expected = FRAMES * extractor.sampling_rate // FRAMES_PER_SECOND
        if not given == own == expected:
            raise ModelError(
                f"The model {self.files(checkpoint).source} takes {own} samples in a prompt position (audio_embed_dim of "
                f"audio_config in config.json), its feature extractor gives {given} (audio_samples_per_token) at "
                f"{extractor.sampling_rate} Hz. Supported are positions of 40 ms: set both to {expected}, or use another "
                "checkpoint."
            )
        return processor

    def shape(self, configuration: Any) -> Shape:
        """The sizes with means over the layers, and a projector without an encoder before it."""
        return Shape.of(
            configuration,
            **layer_sizes(configuration.get_text_config()),
            audio=configuration.audio_config.audio_embed_dim,
        )
