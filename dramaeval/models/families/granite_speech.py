"""Granite Speech: a conformer encoder, a Q-Former over blocks of its steps, and a Granite language model.

Architecture: Saon et al. 2025, "Granite-speech" (arXiv 2505.08699). The encoder attends within blocks of four seconds
and has no longest input, so that every clip is one window. A checkpoint may hold a LoRA adapter that its authors switch
on for prompts with audio; a judge's prompts have audio, so that `GraniteSpeech.load` merges it into the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, GraniteSpeechProcessor
from transformers import GraniteSpeechForConditionalGeneration as PlainGraniteSpeech
from transformers import GraniteSpeechPlusForConditionalGeneration as PlainGraniteSpeechPlus
from transformers.audio_utils import mel_filter_bank
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from dramaeval.data.logmel import VERSION, ClipFeatures, LogMel
from dramaeval.models.adapters import merge_own_adapter
from dramaeval.models.chat_templates import end_of_turn, render_as_texts
from dramaeval.models.families.base import Family
from dramaeval.models.families.qwen2_audio import PROJECTIONS
from dramaeval.models.forward.judge_model import (
    JudgeModel,
    gradients_if_trained,
    on_device_of,
    unpadded,
)
from dramaeval.models.planning.flops import Shape


class GraniteSpeechJudge(JudgeModel):
    """A judge with Granite Speech's encoder and projector."""

    model: Any

    @classmethod
    def from_pretrained(cls, *arguments: Any, **others: Any) -> Any:
        """transformers' method without the checkpoint's own adapter, which transformers would leave unmerged."""
        nowhere = {"subfolder": "no_adapter"}
        return super().from_pretrained(*arguments, adapter_kwargs=nowhere, **others)

    def train(self, mode: bool = True) -> GraniteSpeechJudge:
        """Set the mode, with parts that stay in evaluation mode.

        A frozen encoder or projector has no dropout. Batch normalisation keeps its statistics, so that a clip's encoding
        does not depend on the other clips of a batch. The projector's attention has no dropout, because
        ``disable_dropout`` of TRL does not reach it.
        """
        super().train(mode)
        for part in (self.model.encoder, self.model.projector):
            if not any(weight.requires_grad for weight in part.parameters()):
                part.eval()
            for module in part.modules():
                if isinstance(module, nn.BatchNorm1d) or hasattr(module, "attention_dropout"):
                    module.training = False
        return self

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode clips one by one: the encoder takes no mask for padding. A step is two mel frames side by side."""
        encoder = self.model.encoder
        weight = encoder.input_linear.weight
        features = on_device_of(weight, input_features).to(weight.dtype)
        with gradients_if_trained(encoder):
            return [
                encoder(clip.T.reshape(1, clip.shape[1] // 2, -1)).last_hidden_state[0]
                for clip in unpadded(features, feature_frames)
            ]

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project the blocks of all clips at once; the last block of each clip is filled with zeros."""
        size, rate = self.config.window_size, self.config.downsample_rate
        blocks = [nn.functional.pad(clip, (0, 0, 0, -len(clip) % size)) for clip in encoded]
        projected = self.model.projector(torch.cat(blocks)[None])[0]
        return list(projected.split([len(clip) // rate for clip in blocks]))


class GraniteSpeechForConditionalGeneration(GraniteSpeechJudge, PlainGraniteSpeech):
    """transformers' Granite Speech with the judge's forward pass; same weights, same names, same files."""


class GraniteSpeechPlusForConditionalGeneration(GraniteSpeechJudge, PlainGraniteSpeechPlus):
    """transformers' Granite Speech Plus, whose projector also takes outputs of earlier layers of the encoder."""


class GraniteSpeechFeatureExtractor(SequenceFeatureExtractor):
    """The settings of transformers' class of this name, which needs torchaudio even to be read."""

    model_input_names = ("input_features",)

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 160,
        n_mels: int = 80,
        projector_window_size: int = 15,
        projector_downsample_rate: int = 5,
        padding_value: float = 0.0,
        **others: Any,
    ) -> None:
        bins = others.pop("feature_size", None) or n_mels
        super().__init__(bins, sampling_rate, padding_value, **others)
        self.melspec_kwargs = {
            "sample_rate": sampling_rate,
            "n_fft": n_fft,
            "win_length": win_length,
            "hop_length": hop_length,
            "n_mels": bins,
        }
        self.projector_window_size = projector_window_size
        self.projector_downsample_rate = projector_downsample_rate


class GraniteLogMel(LogMel):
    """Log-mel features as transformers' Granite Speech computes them with torchaudio, without its padding of batches.

    The frames are centred, both ends of a clip are mirrored, and an odd last frame is left out.

    Args:
        extractor: holds the parameters.
        seconds: the longest clip.
    """

    def __init__(self, extractor: GraniteSpeechFeatureExtractor, seconds: float) -> None:
        values = extractor.melspec_kwargs
        self.sampling_rate: int = values["sample_rate"]
        self.hop: int = values["hop_length"]
        self.n_fft: int = values["n_fft"]
        self.mel_bins: int = values["n_mels"]
        self.max_samples = int(seconds * self.sampling_rate)
        self._window = torch.hann_window(values["win_length"])
        filters = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.mel_bins,
            min_frequency=0.0,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            norm=None,
            mel_scale="htk",
        )
        self._mel = torch.from_numpy(filters.T.astype(np.float32))
        #: Identifies the transform: equal names give equal values.
        self.name = f"granite speech {VERSION} {sorted(values.items())} {self.max_samples}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip; arguments and errors are those of `LogMel`. A clip below 16 ms has no frames."""
        self._require_valid(waveform)
        if waveform.size <= self.n_fft // 2:  # too short to be mirrored
            return ClipFeatures(np.empty((self.mel_bins, 0), np.float32), 0, 0.0)
        spectrum = torch.stft(
            torch.from_numpy(waveform),
            self.n_fft,
            self.hop,
            len(self._window),
            self._window,
            return_complex=True,
        )
        values = (self._mel @ spectrum.abs().square()).clamp(min=1e-10).log10()
        lowest = float(values.max()) - 8.0
        values = values.clamp(min=lowest) / 4 + 1
        frames = values.shape[1] // 2 * 2
        return ClipFeatures(
            np.ascontiguousarray(values[:, :frames].numpy()), frames, lowest / 4 + 1
        )


class GraniteSpeech(Family):
    """Any Granite Speech checkpoint; see `Family` for the arguments."""

    judge_class = GraniteSpeechForConditionalGeneration
    #: The encoder has no limit; this one bounds the prompt (ten tokens per second) and the memory.
    longest_clip = 600.0
    names_windows = False
    plain_options = ("head",)
    turn_end = "<|end_of_text|>"
    parts: Mapping[str, str] = {
        "llm": "model.language_model",
        "audio": "model.encoder",
        "projector": "model.projector",
    }
    projections: Mapping[str, Sequence[str]] = {
        "llm": PROJECTIONS["llm"],
        "audio": ("to_q", "to_kv", "to_out", "up_proj", "down_proj"),
        "projector": ("query", "key", "value", "dense", "linear"),
    }

    @cached_property
    def _block(self) -> tuple[int, int]:
        """Encoder steps of a block of the projector, and its prompt positions."""
        configuration = self.read_configuration()
        size = configuration.window_size
        return size, size // configuration.downsample_rate

    def audio_tokens(self, frames: int) -> int:
        """Those of whole blocks: three for each 0.3 s in the published checkpoints."""
        size, tokens = self._block
        return -(-((frames + 1) // 2) // size) * tokens

    def shape(self, configuration: Any) -> Shape:
        """The sizes with those of the conformer, whose layers have two feed-forward blocks."""
        encoder = configuration.encoder_config
        return Shape.of(
            configuration,
            audio=encoder.hidden_dim,
            audio_layers=encoder.num_layers,
            audio_inner=2 * encoder.hidden_dim * encoder.feedforward_mult,
            mel_bins=encoder.input_dim // 2,
        )

    def load(
        self, device: torch.device, checkpoint: Path | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`Family.load`, with the checkpoint's own adapter merged into the weights.

        Raises:
            ModelError: as `Family.load`, or the adapter does not fit.
        """
        model = super().load(device, checkpoint, *args, **kwargs)
        merged = merge_own_adapter(model, self.files(checkpoint))
        return model if merged is None else merged

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The processor with the settings of its feature extractor; `log_mel` computes the features."""
        files = self.files(checkpoint)
        tokenizer = files.read(AutoTokenizer.from_pretrained)
        values, _ = files.read(GraniteSpeechFeatureExtractor.get_feature_extractor_dict)
        extractor = GraniteSpeechFeatureExtractor(**values)
        return GraniteSpeechProcessor(extractor, tokenizer, chat_template=tokenizer.chat_template)

    def log_mel(self, processor: Any) -> LogMel:
        """Granite's own transform; there is no other, so that ``plain`` does not name it."""
        return GraniteLogMel(processor.audio_processor, self.longest_clip)

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """A question's messages as text: Granite's chat template takes texts, in which a clip is its placeholder."""
        return render_as_texts(processor, messages)

    def end_of_turn(self, processor: Any) -> str:
        """The text that the checkpoint's chat template writes after an answer, or its end-of-text token."""
        tokenizer = processor.tokenizer
        return end_of_turn(tokenizer) or tokenizer.eos_token or self.turn_end


class GraniteSpeechPlus(GraniteSpeech):
    """Any Granite Speech Plus checkpoint; see `Family` for the arguments."""

    judge_class = GraniteSpeechPlusForConditionalGeneration
