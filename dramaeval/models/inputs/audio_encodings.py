"""What a frozen audio tower makes of clips, kept from epoch to epoch and from run to run.

A tower that no training changes gives the same for the same clip. Each clip is then encoded alone, at its
weights' own precision, so that what is kept does not depend on which clips it happened to share a batch with: a
training that finds everything on disk computes the same, to the last bit, as one that finds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.logmel import EncodedClip

if TYPE_CHECKING:
    from dramaeval.models.families.base import Family
    from dramaeval.models.inputs.record_encoder import RecordEncoder

#: Part of every key; raised whenever the same weights give other values.
VERSION = 1


class AudioEncodingCache:
    """A frozen tower's encodings on disk.

    Args:
        cache: where they are kept.
        tower: names the tower, see `tower_name`.
        path: of the tower's module in the judge.

    Attributes:
        encoded: how many clips the tower was run on.
    """

    def __init__(self, cache: FeatureCache, tower: str, path: str) -> None:
        self.cache = cache
        self.tower = tower
        self.path = path
        self.encoded = 0

    def recall(self, key: str) -> EncodedClip | None:
        """What was kept of a clip; None where nothing was."""
        found = self.cache.get(self._key(key)) if key else None
        if found is None:
            return None
        return EncodedClip(values=found["values"], frames=int(found["frames"]))

    def encode(
        self, model: Any, features: torch.Tensor, frames: torch.Tensor, keys: Sequence[str]
    ) -> list[torch.Tensor]:
        """Run the tower over clips one by one, and keep what has a key; see `AnsweringModel.answer`."""
        self.require_frozen(model)
        found = []
        for row, (count, key) in enumerate(zip(frames.tolist(), keys, strict=True)):
            # Two frames past the clip's end are looked at.
            own = features[row : row + 1, :, : min(count + 2, features.shape[2])]
            with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
                (encoded,) = model.encode_audio(own, frames[row : row + 1])
            self.encoded += 1
            if key:
                kept = {"values": encoded.detach().cpu(), "frames": torch.tensor(count)}
                self.cache.put(self._key(key), kept)
            found.append(encoded)
        return found

    def require_frozen(self, model: Any) -> None:
        """Stop before a tower that is being trained is passed by.

        Raises:
            RuntimeError: it is.
        """
        if torch.is_grad_enabled() and is_trained(model, self.path):
            raise RuntimeError(
                "The audio tower is trained, but its encodings are kept: whoever makes it trainable has to set "
                "the judge's `encoding_cache` to None."
            )

    def _key(self, key: str) -> str:
        return f"encoded {VERSION} {self.tower} {key}"


def tower_name(model: Any, family: Family) -> str | None:
    """A name for the audio tower as it stands: code, weights, precision, kind of device.

    None where that would not say everything: weights that are not at hand (left on disk by a device map),
    adapters in the tower, whose scale is no weight; and for a judge that only reads.
    """
    import transformers

    path = family.parts.get("audio")
    if path is None:
        return None
    tower = unwrap_judge(model).get_submodule(path)
    digest = hashlib.blake2b(digest_size=20)
    weights = dict([*tower.named_parameters(), *tower.named_buffers()])
    for name, weight in sorted(weights.items(), key=lambda one: one[0]):
        if weight.is_meta or "base_layer" in name:
            return None
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} {weight.device.type}".encode())
        raw = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(raw.numpy()))
    attention = tower.config._attn_implementation
    way = "30 s " if "encoder" in unwrap_judge(model).plain else ""
    code = f"{type(unwrap_judge(model)).__name__} {way}{attention} transformers {transformers.__version__}"
    return f"{code} torch {torch.__version__} {digest.hexdigest()}"


def is_trained(model: Any, path: str) -> bool:
    """Whether any weight of the module at a path is trainable."""
    return any(
        weight.requires_grad for weight in unwrap_judge(model).get_submodule(path).parameters()
    )


def attach_encoding_cache(
    model: Any, record_encoder: RecordEncoder, encoding_cache: AudioEncodingCache | None
) -> None:
    """Let a judge and what prepares its clips keep the tower's encodings; None stops it."""
    unwrap_judge(model).encoding_cache = encoding_cache
    record_encoder.forget_encodings()
    record_encoder.encoding_cache = encoding_cache


def unwrap_judge(model: Any) -> Any:
    """The judge inside of PEFT's wrapper, its adapters still in place."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
