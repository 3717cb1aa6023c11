"""Voxtral as a judge: Whisper's encoder over a whole window of 30 s, and a Llama that reads its answer.

Architecture: Liu et al. 2025, "Voxtral" (arXiv 2507.13264). Unlike Qwen2-Audio's, its encoder looks at the
silence after a clip and hands it on: every clip takes as many positions as a full window. Its prompts are made
by Mistral's own package, token by token, and not by a chat template.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import VoxtralConfig
from transformers import VoxtralForConditionalGeneration as PlainVoxtral

from dramaeval.models.families.base import Family, ModelError
from dramaeval.models.families.qwen2_audio import WINDOW, Qwen2Audio
from dramaeval.models.forward.judge_model import JudgeModel
from dramaeval.models.forward.shared_prefix import SharedPrefixLayout, as_mask

#: The positions that a window takes: four encoder steps share one.
POSITIONS = WINDOW // 8
#: Whisper's features lie at most this far below the loudest of a clip, and never below silence.
_DEPTH, _SILENCE = 2.0, -1.5


class VoxtralForConditionalGeneration(JudgeModel, PlainVoxtral):
    """transformers' Voxtral with the judge's forward pass; same weights, same names, same files."""

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """See `JudgeModel.encode_audio`; the rest of the window is filled with each clip's own silence."""
        tower = self.model.audio_tower
        floor = (input_features.amax(dim=(1, 2)) - _DEPTH).clamp(min=_SILENCE)
        missing = WINDOW - input_features.shape[2]
        rest = floor[:, None, None].expand(-1, input_features.shape[1], missing)
        window = torch.cat([input_features, rest], dim=2)
        trained = any(weight.requires_grad for weight in tower.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            return list(tower(window).last_hidden_state)

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """See `JudgeModel.project_audio`."""
        # As `VoxtralModel.get_audio_features` groups them.
        size = self.config.audio_config.intermediate_size
        grouped = torch.stack(encoded).reshape(len(encoded), -1, size)
        return list(self.model.multi_modal_projector(grouped))

    @property
    def audio_token(self) -> int:
        """See `JudgeModel.audio_token`."""
        return int(self.config.audio_token_id)

    @property
    def decoder(self) -> nn.Module:
        """See `JudgeModel.decoder`."""
        return self.model.language_model

    def layout_mask(self, layout: SharedPrefixLayout) -> Any:
        """See `JudgeModel.layout_mask`."""
        return as_mask(layout)


class Voxtral(Family):
    """Any Voxtral checkpoint in transformers' format; see `Family` for the arguments."""

    turn_end = "</s>"
    quick = ("log_mel", "head", "last_layer")
    parts: Mapping[str, str] = Qwen2Audio.parts
    projections: Mapping[str, Sequence[str]] = {
        **Qwen2Audio.projections,
        "projector": ("linear_1", "linear_2"),
    }
    fixed = Qwen2Audio.fixed

    def model_class(self) -> Any:
        """See `Family.model_class`."""
        return VoxtralForConditionalGeneration

    def configuration(self, values: Mapping[str, Any]) -> Any:
        """See `Family.configuration`."""
        return VoxtralConfig(**values)

    def audio_tokens(self, frames: int) -> int:
        """See `Family.audio_tokens`; the same for every clip."""
        return POSITIONS

    def encoded_frames(self, frames: int) -> int:
        """See `Family.encoded_frames`; a window for every clip."""
        return WINDOW

    def decoder_of(self, model: Any) -> Any:
        """See `Family.decoder_of`."""
        return model.model.language_model

    def processor(self, checkpoint: Path | None = None) -> Any:
        """See `Family.processor`.

        Raises:
            ModelError: mistral-common is missing, or the files are not there.
        """
        if find_spec("mistral_common") is None:
            raise ModelError(
                "model=voxtral needs a package that is missing: pip install 'dramaeval[voxtral]' (Mistral's "
                "mistral-common, which makes Voxtral's prompts)."
            )
        from transformers import AutoFeatureExtractor, MistralCommonBackend, VoxtralProcessor

        source = str(checkpoint) if checkpoint else self.path
        hub = {
            key: value
            for key, value in self._hub_arguments(checkpoint).items()
            if key != "trust_remote_code"
        }
        tokenizer = self._reading(
            source, lambda: MistralCommonBackend.from_pretrained(source, **hub)
        )
        extractor = self._reading(
            source, lambda: AutoFeatureExtractor.from_pretrained(source, **hub)
        )
        return VoxtralProcessor(extractor, tokenizer)

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> list[int]:
        """A question's messages as tokens, its clip's placeholder standing once.

        Voxtral knows no system message beside a clip, so its text goes to the head of the user's.
        """
        content: list[dict[str, Any]] = []
        for message in messages:
            given = message["content"]
            parts = [{"type": "text", "text": given}] if isinstance(given, str) else given
            content += [
                {"type": "audio", "base64": _silence()} if part["type"] == "audio" else part
                for part in parts
            ]
        made = processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=True, return_dict=False
        )
        marker = processor.audio_token_id
        return [token for at, token in enumerate(made) if token != marker or made[at - 1] != marker]

    def tokenise(self, processor: Any, text: str) -> list[int]:
        """See `Family.tokenise`; Mistral's tokenizer takes the end of a turn for plain text."""
        plain, end, _ = text.partition(self.turn_end)
        made = list(processor.tokenizer(plain, add_special_tokens=False)["input_ids"])
        return [*made, processor.tokenizer.eos_token_id] if end else made


@cache
def _silence() -> str:
    """A clip for Mistral's package to count; which one does not matter, they all take a window."""
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600, dtype=np.float32), 16_000, format="WAV")
    return base64.b64encode(file.getvalue()).decode()
