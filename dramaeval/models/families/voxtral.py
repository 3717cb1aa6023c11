"""Voxtral: Whisper's encoder over a window of 30 s, a projector, and a Llama.

Architecture: Liu et al. 2025, "Voxtral" (arXiv 2507.13264). The encoder includes the silence after a clip, so that every
clip takes as many prompt positions as a full window. Mistral's package mistral-common renders the prompts as token
ids; there is no chat template.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import VoxtralForConditionalGeneration as PlainVoxtral

from dramaeval.models.chat_templates import content_parts
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.models.families.qwen2_audio import PROJECTIONS, WINDOW, Qwen2Audio
from dramaeval.models.forward.judge_model import JudgeModel, gradients_if_trained

#: Prompt positions of a window: four encoder steps share one.
POSITIONS = WINDOW // 8
#: Whisper's features are at most this far below a clip's maximum, and never below silence.
_DEPTH, _SILENCE = 2.0, -1.5
_MISSING = (
    "model=voxtral needs a package that is missing: pip install 'dramaeval[voxtral]' (Mistral's mistral-common, which "
    "renders Voxtral's prompts)."
)


def filled_window(features: torch.Tensor) -> torch.Tensor:
    """``[clips, mel bins, frames]`` filled with the silence of each clip up to 30 s, as Whisper's features are."""
    floor = (features.amax(dim=(1, 2)) - _DEPTH).clamp(min=_SILENCE)
    missing = WINDOW - features.shape[2]
    silence = floor[:, None, None].expand(-1, features.shape[1], missing)
    return torch.cat([features, silence], dim=2)


class VoxtralForConditionalGeneration(JudgeModel, PlainVoxtral):
    """transformers' Voxtral with the judge's forward pass; same weights, same names, same files."""

    def encode_audio(
        self, input_features: torch.Tensor, feature_frames: torch.Tensor
    ) -> list[torch.Tensor]:
        """Encode windows of 30 s; each is filled with silence after its clip."""
        tower = self.model.audio_tower
        window = filled_window(input_features)
        with gradients_if_trained(tower):
            return list(tower(window).last_hidden_state)

    def project_audio(self, encoded: list[torch.Tensor]) -> list[torch.Tensor]:
        """Project steps in groups, as `VoxtralModel.get_audio_features` does."""
        size = self.config.audio_config.intermediate_size
        grouped = torch.stack(encoded).reshape(len(encoded), -1, size)
        return list(self.model.multi_modal_projector(grouped))


class Voxtral(Family):
    """Any Voxtral checkpoint in transformers' format; see `Family` for the arguments."""

    judge_class = VoxtralForConditionalGeneration
    turn_end = "</s>"
    plain_options = ("log_mel", "head")
    parts: Mapping[str, str] = Qwen2Audio.parts
    projections: Mapping[str, Sequence[str]] = {
        **PROJECTIONS,
        "projector": ("linear_1", "linear_2"),
    }
    fixed = Qwen2Audio.fixed

    def audio_tokens(self, frames: int) -> int:
        """The same number for every clip."""
        return POSITIONS

    def encoded_frames(self, frames: int) -> int:
        """A window for every clip."""
        return WINDOW

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The processor around Mistral's tokenizer.

        Raises:
            ModelError: Mistral's package is missing, or the files cannot be read.
        """
        if find_spec("mistral_common") is None:
            raise ModelError(_MISSING)
        from transformers import AutoFeatureExtractor, MistralCommonBackend, VoxtralProcessor

        files = self.files(checkpoint)
        extractor = files.read(AutoFeatureExtractor.from_pretrained, accepts_code=False)
        tokenizer = files.read(MistralCommonBackend.from_pretrained, accepts_code=False)
        return VoxtralProcessor(extractor, tokenizer)

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> list[int]:
        """A question's messages as token ids, each clip's placeholder once.

        Voxtral has no system message in conversations with audio: the text of the system message comes first in the
        user's message.
        """
        content = [
            {"type": "audio", "base64": _silent_clip()}
            if part.get("type") == "audio"
            else {"type": "text", **part}
            for message in messages
            for part in content_parts(message["content"])
        ]
        tokens = processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=True, return_dict=False
        )
        marker = processor.audio_token_id
        return [
            token
            for before, token in pairwise([None, *tokens])
            if token != marker or before != marker
        ]

    def tokenise(self, processor: Any, text: str) -> list[int]:
        """The token ids of a text, which may end a turn; Mistral's tokenizer reads control tokens as plain text."""
        plain = text.removesuffix(self.turn_end)
        tokens = list(processor.tokenizer(plain, add_special_tokens=False)["input_ids"])
        return tokens if plain == text else [*tokens, processor.tokenizer.eos_token_id]


@cache
def _silent_clip() -> str:
    """A clip in base64; Mistral's package renders the same number of placeholders for every clip."""
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600, dtype=np.float32), 16_000, format="WAV")
    return base64.b64encode(file.getvalue()).decode()
