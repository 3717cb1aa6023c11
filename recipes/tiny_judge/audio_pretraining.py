"""First stage: trains the audio tower to encode the controlled properties of the audio.

One answer word per clip is too weak a signal to train a tower from scratch. Therefore the tower is first trained
directly: a linear layer predicts every property of the delivery from the mean of the tower's outputs. Two more predict
the hardest properties moment by moment: the pitch from the outputs of the middle layer, and from the tower's outputs
which moments are part of a stressed word. All three are discarded afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from dramaeval.compat.transformers import encode_frames
from dramaeval.data.logmel import ClipFeatures, pad_features
from dramaeval.models.families.qwen2_audio import audio_tokens
from recipes.sample.speech import ARTEFACTS, EMOTIONS, PAUSES, STRESSES
from recipes.sample.voices import AGES, SEXES, VOICES
from recipes.tiny_judge.clips import Rendered, Spoken

if TYPE_CHECKING:
    from transformers import Qwen2AudioEncoder

#: Properties with a value between 0 and 1.
GRADED = ("pitch_range", "rate", "loudness_range", "level", "intensity")
#: Variance of a graded property over random deliveries.
GRADED_VARIANCE = 0.1
#: Properties with named values.
NAMED: dict[str, tuple[str, ...]] = {
    "pauses": PAUSES,
    "stress": STRESSES,
    "emotion": EMOTIONS,
    "artefact": ARTEFACTS,
    "sex": SEXES,
    "age": AGES,
    "language": ("en", "zh"),
}


def named_property(spoken: Spoken, name: str) -> str:
    """The value of one of `NAMED` for a clip."""
    if name == "language":
        return spoken.language
    if name in ("sex", "age"):
        return str(getattr(VOICES[spoken.delivery.voice], name))
    return str(getattr(spoken.delivery, name))


class Targets:
    """The targets of the linear layers for a list of clips.

    Attributes:
        graded: float32 ``[clips, len(GRADED)]``; not-a-number where the clip has no such property (a
            neutral voice has no strength of feeling).
        named: int64 ``[clips, len(NAMED)]``, index of the value.
        melody: for every clip its pitch, see `recipes.tiny_judge.clips.melody`.
        stressed: for every clip the share of stress, see `recipes.tiny_judge.clips.stressed_share`.
    """

    def __init__(self, spoken: Sequence[Spoken], rendered: Sequence[Rendered]) -> None:
        graded = np.array([[getattr(s.delivery, n) for n in GRADED] for s in spoken], np.float32)
        neutral = np.array([s.delivery.emotion == "neutral" for s in spoken])
        graded[neutral, GRADED.index("intensity")] = np.nan
        self.graded = torch.from_numpy(graded)
        self.named = torch.tensor(
            [
                [values.index(named_property(s, name)) for name, values in NAMED.items()]
                for s in spoken
            ]
        )
        self.melody = [torch.from_numpy(clip.melody) for clip in rendered]
        self.stressed = [torch.from_numpy(clip.stressed) for clip in rendered]

    def melodies(self, rows: np.ndarray) -> torch.Tensor:
        """Pitch ``[rows, longest]``, not-a-number past a clip's end."""
        return _padded([self.melody[int(row)] for row in rows])

    def stresses(self, rows: np.ndarray) -> torch.Tensor:
        """Share of stress ``[rows, longest]``, not-a-number past a clip's end."""
        return _padded([self.stressed[int(row)] for row in rows])


def _padded(values: list[torch.Tensor]) -> torch.Tensor:
    return nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=float("nan"))


class AudioPropertyModel(nn.Module):
    """The audio tower with linear layers that predict properties."""

    def __init__(self, tower: Qwen2AudioEncoder) -> None:
        super().__init__()
        self.tower = tower
        width = len(GRADED) + sum(len(values) for values in NAMED.values())
        self.property_head = nn.Linear(tower.config.d_model, width)
        # The pitch, and the logit of a voiced moment.
        self.pitch_head = nn.Linear(tower.config.d_model, 2)
        # The logit of a stressed moment.
        self.stress_head = nn.Linear(tower.config.d_model, 1)

    def forward(
        self, clips: Sequence[ClipFeatures]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predict the properties, the pitch and the stress of clips.

        Returns:
            ``[clips, properties]``, the graded ones and then the logits of the named ones; ``[clips, longest, 2]``, the
            pitch and the logit of a voiced moment; and ``[clips, longest]``, the logit of a stressed moment.
        """
        features, frames = pad_features(list(clips))
        half_way: list[torch.Tensor] = []
        layer = self.tower.layers[len(self.tower.layers) // 2 - 1]
        hook = layer.register_forward_hook(lambda _, __, output: half_way.append(output))
        encoded = encode_frames(self.tower, features, frames)
        hook.remove()
        lengths = torch.tensor([audio_tokens(int(n)) for n in frames])
        valid = (torch.arange(encoded.shape[1])[None] < lengths[:, None]).unsqueeze(-1)
        mean = (encoded * valid).sum(1) / lengths[:, None]
        # Two frames of the tower's inner rate are one audio token.
        inner = half_way[0][:, : 2 * encoded.shape[1]]
        moments = inner.unflatten(1, (encoded.shape[1], 2)).mean(2)
        return (
            self.property_head(mean),
            self.pitch_head(moments),
            self.stress_head(encoded).squeeze(-1),
        )


def split_logits(outputs: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Named property and its logits, in the order of `NAMED`."""
    start = len(GRADED)
    for name, values in NAMED.items():
        yield name, outputs[:, start : start + len(values)]
        start += len(values)


def property_loss(outputs: torch.Tensor, graded: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
    """Squared errors of the graded properties over their variance, plus cross-entropies over those of a guess."""
    known = ~graded.isnan()
    error = (outputs[:, : len(GRADED)] - graded.nan_to_num()).square()[known].mean()
    named_losses = [
        F.cross_entropy(logits, named[:, column]) / np.log(logits.shape[1])
        for column, (_, logits) in enumerate(split_logits(outputs))
    ]
    return error / GRADED_VARIANCE * len(GRADED) + torch.stack(named_losses).sum()


def melody_loss(pitch: torch.Tensor, melody: torch.Tensor) -> torch.Tensor:
    """Absolute error of the pitch in octaves where it is voiced, plus the cross-entropy of voicing."""
    pitch = pitch[:, : melody.shape[1]]
    voiced = ~melody.isnan()
    error = (pitch[..., 0] - melody.nan_to_num()).abs()[voiced].mean()
    return 5 * error + F.binary_cross_entropy_with_logits(pitch[..., 1], voiced.float())


def stress_loss(logits: torch.Tensor, stressed: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the share of stress of the moments within the clips."""
    known = ~stressed.isnan()
    return F.binary_cross_entropy_with_logits(
        logits[:, : stressed.shape[1]][known], stressed[known]
    )


def batch_of_similar_lengths(lengths: np.ndarray, size: int, step: int, seed: int) -> np.ndarray:
    """Indices ``[size]`` of one step's clips, of similar lengths; a round of steps takes every clip once."""
    batches = len(lengths) // size
    rng = np.random.default_rng([seed, 0x5E7, step // batches])
    # Random factors on the lengths give every round other batches.
    order = np.argsort(lengths * rng.uniform(0.85, 1.15, len(lengths)))
    first = size * int(rng.permutation(batches)[step % batches])
    return order[first : first + size]


@torch.no_grad()
def property_scores(
    property_model: AudioPropertyModel, clips: list[ClipFeatures], targets: Targets, size: int = 64
) -> dict[str, float]:
    """Correlation for each graded property, accuracy for each named one, and how well stressed moments are told.

    The last, ``stressed_moments``, is the area under the ROC curve of the moments of all clips.
    """
    property_model.eval()
    order = np.argsort([clip.frames for clip in clips])
    outputs = torch.empty(len(clips), property_model.property_head.out_features)
    shares, logits_of_stress = [], []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        properties, _, stress = property_model([clips[i] for i in rows])
        outputs[rows] = properties.float()
        known = targets.stresses(rows)
        inside = ~known.isnan()
        shares.append(known[inside])
        logits_of_stress.append(stress[:, : known.shape[1]][inside].float())
    property_model.train()
    stressed = torch.cat(shares) > 0.5
    scores = {"stressed_moments": float(roc_auc_score(stressed, torch.cat(logits_of_stress)))}
    for column, name in enumerate(GRADED):
        known = ~targets.graded[:, column].isnan()
        pair = torch.stack([outputs[known, column], targets.graded[known, column]])
        scores[name] = float(torch.corrcoef(pair)[0, 1])
    for column, (name, logits) in enumerate(split_logits(outputs)):
        scores[name] = float((logits.argmax(1) == targets.named[:, column]).float().mean())
    return scores
