"""Music Flamingo and Audio Flamingo Next: Audio Flamingo 3 with rotary embeddings of time before the projector.

Architecture: Ghosh et al. 2025, "Music Flamingo" (arXiv 2511.10289); the embeddings after Goel et al. 2024, "OMCAT"
(arXiv 2410.12109). A clip's windows of 30 s follow each other in the place of one placeholder, and each step is rotated
by its time since the beginning of the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import MusicFlamingoForConditionalGeneration as PlainMusicFlamingo

from dramaeval.models.families.audio_flamingo3 import AudioFlamingo3, FlamingoJudge
from dramaeval.models.families.qwen2_audio import WINDOW

#: Steps of a window after the encoder's pooling.
STEPS = WINDOW // 4


class MusicFlamingoForConditionalGeneration(FlamingoJudge, PlainMusicFlamingo):
    """transformers' Music Flamingo with the judge's forward pass; same weights, same names, same files."""

    def place_audio(
        self, encoded: list[torch.Tensor], windows: Sequence[int]
    ) -> list[torch.Tensor]:
        """Rotate each step by its time, as `MusicFlamingoModel.get_audio_features` does."""
        device = encoded[0].device
        steps = torch.arange(STEPS, device=device) + STEPS * torch.tensor(
            windows, device=device
        ).unsqueeze(1)
        cos, sin = self.model.pos_emb(steps * self.config.audio_frame_step * 4, seq_len=STEPS)
        # A rotation turns pairs of values, whose two angles are equal.
        turns = torch.complex(cos[..., ::2].double(), sin[..., ::2].double())
        return [_rotated(clip, turn) for clip, turn in zip(encoded, turns, strict=True)]


def _rotated(clip: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """``[steps, width]`` with its first values turned in pairs, by ``[at least steps, pairs]``."""
    size = 2 * turns.shape[1]
    pairs = torch.view_as_complex(clip[:, :size].double().unflatten(1, (-1, 2)))
    turned = torch.view_as_real(pairs * turns[: len(clip)]).flatten(1)
    return torch.cat([turned.to(clip.dtype), clip[:, size:]], dim=1)


class MusicFlamingo(AudioFlamingo3):
    """Any Music Flamingo or Audio Flamingo Next checkpoint in transformers' format; see `Family` for the arguments."""

    judge_class = MusicFlamingoForConditionalGeneration

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """A question's messages as text; the marks around a clip come from the processor, not from the template."""
        text = str(super().render(processor, messages))
        marks = (processor.audio_bos_token, processor.audio_eos_token)
        return text.replace(processor.audio_token, processor.audio_token.join(marks))
