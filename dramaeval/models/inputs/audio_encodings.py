"""Stores the outputs of a frozen audio tower on disk, for later epochs and runs.

Each clip is encoded separately and in the precision of the weights, so that its encoding does not depend on other clips
in the batch. A training that reads all encodings from disk is bit-identical to a training that computes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from dramaeval.compat.transformers import attention_implementation
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.logmel import LOOKAHEAD, ClipFeatures, EncodedClip, pad_features
from dramaeval.models.devices import input_device

#: Part of every key; increase it when the same weights give other values.
VERSION = 1


class AudioEncodingCache:
    """Stores the encodings of one frozen audio tower.

    Args:
        cache: stores the encodings on disk.
        tower: name of the tower, see `tower_name`.
        path: module path of the tower in the judge.

    Attributes:
        encoded: number of clips that the tower has encoded.
    """

    def __init__(self, cache: FeatureCache, tower: str, path: str) -> None:
        self.cache = cache
        self.tower = tower
        self.path = path
        self.encoded = 0

    def get(self, key: str) -> EncodedClip | None:
        """The encoding of a clip; None if it is not stored."""
        entry = self.cache.get(self._key(key)) if key else None
        if entry is None:
            return None
        return EncodedClip(values=entry["values"], frames=int(entry["frames"]))

    def encode(
        self, judge: Any, features: torch.Tensor, frames: torch.Tensor, keys: Sequence[str]
    ) -> list[torch.Tensor]:
        """Encode each clip and store the encodings of clips with a key. Clips with equal keys are encoded once.

        Args:
            judge: a `JudgeModel`.
            features: ``[clips, mel bins, frames]``.
            frames: int ``[clips]``, numbers of valid frames.
            keys: the key of each clip; empty for a clip whose encoding is not stored.

        Returns:
            ``[steps, width]`` for each clip.

        Raises:
            RuntimeError: the tower is being trained.
        """
        self.check_frozen(judge)
        encodings: list[torch.Tensor] = []
        encoded: dict[str, torch.Tensor] = {}
        for row, (count, key) in enumerate(zip(frames.tolist(), keys, strict=True)):
            if key in encoded:
                encodings.append(encoded[key])
                continue
            clip = features[row : row + 1, :, : count + LOOKAHEAD]
            with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
                (encoding,) = judge.encode_audio(clip, frames[row : row + 1])
            self.encoded += 1
            if key:
                entry = {"values": encoding.detach().cpu(), "frames": torch.tensor(count)}
                self.cache.put(self._key(key), entry)
                encoded[key] = encoding
            encodings.append(encoding)
        return encodings

    def check_frozen(self, judge: Any) -> None:
        """Check that the tower is not being trained.

        Raises:
            RuntimeError: the tower is being trained, so that stored encodings would be outdated.
        """
        if torch.is_grad_enabled() and is_trained(judge, self.path):
            raise RuntimeError(
                "The audio tower is trained, but its encodings are kept: set the judge's encoding_cache to None "
                "where the tower is made trainable."
            )

    def _key(self, key: str) -> str:
        return f"encoded {VERSION} {self.tower} {key}"


def pooled_encoding(judge: Any, windows: Sequence[ClipFeatures | EncodedClip]) -> np.ndarray:
    """The outputs of the audio tower for one clip, averaged over time: float32 ``[width]``.

    Args:
        judge: a `JudgeModel`.
        windows: the windows of the clip, as log-mel features or stored encodings.
    """
    encodings = [window.values for window in windows if isinstance(window, EncodedClip)]
    clips = [window for window in windows if isinstance(window, ClipFeatures)]
    if clips:
        features, frames = pad_features(clips)
        device = input_device(judge)
        with torch.inference_mode():
            encodings += judge.encode_audio(features.to(device), frames.to(device))
    return torch.cat(encodings).float().mean(dim=0).cpu().numpy()


def tower_name(judge: Any, path: str | None) -> str | None:
    """A name for the audio tower that depends on its code, weights, precision and kind of device.

    Args:
        judge: a `JudgeModel`, with or without adapters.
        path: module path of the tower; None for a judge without one.

    Returns:
        None if the name cannot be computed: a device map leaves weights on disk, or the tower has adapters, whose
        scale is not a weight.
    """
    if path is None:
        return None
    tower = judge.get_submodule(path)
    digest = hashlib.blake2b(digest_size=20)
    weights = dict([*tower.named_parameters(), *tower.named_buffers()])
    for name, weight in sorted(weights.items()):
        if weight.is_meta or "base_layer" in name:
            return None
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} {weight.device.type}".encode())
        raw = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(raw.numpy()))
    window = "30 s " if "encoder" in judge.plain else ""
    attention = attention_implementation(tower.config)
    code = f"{type(judge).__name__} {window}{attention} transformers {transformers.__version__}"
    return f"{code} torch {torch.__version__} {digest.hexdigest()}"


def is_trained(judge: Any, path: str) -> bool:
    """Whether any weight of the module at a path is trainable."""
    return any(weight.requires_grad for weight in judge.get_submodule(path).parameters())
