"""Log-mel features of a clip at its true length.

Whisper's feature extractor pads every clip to 30 s before it transforms it; nine tenths of that work
are spent on silence. The transform is local in time, so the frames of the clip itself can be computed
alone, provided that the edges are treated as the padded version treats them. That is all this module does;
`PaddedLogMel` is the way back, for comparison.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# The encoder's two convolutions look this many frames past the last one that belongs to the clip.
_LOOKAHEAD = 2
#: Mel filters that are applied together.
_BLOCK = 16
#: Part of every key under which features are kept on disk; raised whenever the same clip gives other values,
#: for a change in this module or in `dramaeval.data.audio.decode`.
VERSION = 2


@dataclass(frozen=True)
class ClipFeatures:
    """What the audio encoder needs to know of one clip.

    Attributes:
        values: float32 ``[mel bins, frames + lookahead]``; the columns past ``frames`` hold what the
            padded transform has there (the tail of the last window, then silence).
        frames: how many columns belong to the clip (10 ms each).
        floor: the feature value of silence beside this clip, with which it is padded in a batch.
        key: what the values were made of, under which they and what follows from them can be kept; empty where
            they are not those of a file as it is (perturbed, silenced, given as samples).
    """

    values: np.ndarray
    frames: int
    floor: float
    key: str = ""


@dataclass(frozen=True)
class EncodedClip:
    """What a frozen audio tower made of a clip before: a tensor ``[steps, width]``, and its frames."""

    values: Any
    frames: int


class LogMel:
    """Whisper's log-mel transform (Radford et al. 2022, section 2.2) without the 30 s of padding.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``; its parameters and filters are used as they are.
    """

    def __init__(self, feature_extractor: Any) -> None:
        import torch

        if getattr(feature_extractor, "dither", 0.0):
            raise ValueError(
                "The feature extractor asks for dither, which adds noise to every clip and makes scores "
                "irreproducible. Set `dither` to 0.0 in preprocessor_config.json."
            )
        self.sampling_rate: int = feature_extractor.sampling_rate
        self.hop: int = feature_extractor.hop_length
        self.n_fft: int = feature_extractor.n_fft
        self.max_samples: int = feature_extractor.n_samples
        self.mel_bins: int = feature_extractor.feature_size
        self._window = torch.hann_window(self.n_fft)
        filters = np.asarray(feature_extractor.mel_filters, dtype=np.float32)
        self._filters = _in_blocks(filters.T)
        own = (VERSION, self.sampling_rate, self.hop, self.n_fft, self.max_samples, self.mel_bins)
        #: Names the transform: the same name, the same values.
        self.name: str = f"{own}-{hashlib.blake2b(filters.tobytes(), digest_size=8).hexdigest()}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip.

        Args:
            waveform: float32 mono samples ``[samples]`` at ``sampling_rate``, at most ``max_samples``.

        Raises:
            ValueError: the waveform is empty, not one-dimensional, or longer than the model hears.
        """
        import torch

        self._require_heard(waveform)
        samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
        frames = math.ceil(waveform.size / self.hop)
        spectrum = torch.stft(
            self._padded(samples),
            self.n_fft,
            self.hop,
            window=self._window,
            center=False,
            return_complex=True,
        )
        # The padded transform drops the frame that is centred on the end of its window.
        spectrum = spectrum[:, : self.max_samples // self.hop]
        power = spectrum.real.square() + spectrum.imag.square()
        mel = torch.cat([weights @ power[own] for own, weights in self._filters])
        log_mel = mel.clamp(min=1e-10).log10()
        # Eight decades below the loudest cell, as Whisper has it; silence past the clip lies at -10.
        lowest = max(float(log_mel.max()) - 8.0, -10.0)
        log_mel = (log_mel.clamp(min=lowest) + 4.0) / 4.0
        floor = (lowest + 4.0) / 4.0
        values = self._with_lookahead(log_mel, frames, floor)
        return ClipFeatures(values=values.numpy(), frames=frames, floor=floor)

    def _require_heard(self, waveform: np.ndarray) -> None:
        if waveform.ndim != 1 or waveform.size == 0:
            raise ValueError(
                f"A clip is one row of samples, got an array of shape {waveform.shape}."
            )
        if waveform.size > self.max_samples:
            raise ValueError(
                f"The clip lasts {waveform.size / self.sampling_rate:.2f} s; the model hears at most "
                f"{self.max_samples / self.sampling_rate:.0f} s."
            )

    def _padded(self, samples: torch.Tensor) -> torch.Tensor:
        """Give the clip the surroundings that it has inside the 30 s window.

        Before it lies its own mirror image; after it silence, or, where the window ends, the mirror.
        """
        import torch

        half = self.n_fft // 2
        silence = min(self.n_fft + self.hop, self.max_samples - samples.numel())
        padded = torch.nn.functional.pad(samples, (0, silence))
        # A mirror needs more than `half` samples to look at; the 30 s window always has them.
        missing = max(0, half + 1 - padded.numel())
        padded = torch.nn.functional.pad(padded, (0, missing))
        before, after = padded[1 : half + 1].flip(0), padded[-half - 1 : -1].flip(0)
        return torch.cat([before, padded, after])

    def _with_lookahead(self, log_mel: torch.Tensor, frames: int, floor: float) -> torch.Tensor:
        import torch

        width = min(frames + _LOOKAHEAD, self.max_samples // self.hop)
        if log_mel.shape[1] < width:
            log_mel = torch.nn.functional.pad(log_mel, (0, width - log_mel.shape[1]), value=floor)
        return log_mel[:, :width].contiguous()


class PaddedLogMel(LogMel):
    """The same features from the extractor itself, over 30 s: slower; what `LogMel` is compared with.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``.
    """

    def __init__(self, feature_extractor: Any) -> None:
        super().__init__(feature_extractor)
        self._extractor = feature_extractor
        # Equal within rounding only, so kept under a name of its own.
        self.name = f"padded {self.name}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip; see `LogMel.__call__`."""
        self._require_heard(waveform)
        made = self._extractor(waveform, sampling_rate=self.sampling_rate, return_tensors="np")
        values = made["input_features"][0]
        frames = math.ceil(waveform.size / self.hop)
        width = min(frames + _LOOKAHEAD, values.shape[1])
        # Eight decades below the loudest cell are 2 in features; silence lies at (-10 + 4) / 4.
        floor = max(float(values.max()) - 2.0, -1.5)
        return ClipFeatures(
            values=np.ascontiguousarray(values[:, :width]), frames=frames, floor=floor
        )


def _in_blocks(filters: np.ndarray) -> list[tuple[slice, torch.Tensor]]:
    """Mel filters ``[mel bins, frequencies]`` a few at a time, each with the frequencies that it looks at.

    A filter looks at a few neighbouring frequencies; the zeros of all others would be most of the work.
    """
    import torch

    blocks = []
    for start in range(0, len(filters), _BLOCK):
        rows = filters[start : start + _BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        own = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        blocks.append((own, torch.from_numpy(np.ascontiguousarray(rows[:, own]))))
    return blocks


def pad_features(clips: list[ClipFeatures]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack clips into ``[clips, mel bins, longest]`` float32 and their frame counts ``[clips]``.

    Each clip is padded with its own silence, so that a clip's encoding does not depend on its neighbours.
    """
    import torch

    width = max(clip.values.shape[1] for clip in clips)
    features = torch.empty(len(clips), clips[0].values.shape[0], width)
    for row, clip in enumerate(clips):
        own = clip.values.shape[1]
        features[row, :, :own] = torch.from_numpy(clip.values)
        features[row, :, own:] = clip.floor
    return features, torch.tensor([clip.frames for clip in clips])
