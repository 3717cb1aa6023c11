"""Log-mel features of a clip at its true length.

Whisper's feature extractor pads every clip to 30 s before the transform and so spends about nine tenths of the work
on silence. The transform is local in time: the frames of the clip can be computed without the padding if the edges
are treated as in the padded version. `PaddedLogMel` computes the padded version, for comparison.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dramaeval.data.durations import beside

if TYPE_CHECKING:
    import torch

#: Number of frames after the clip's last frame that the encoder's two convolutions use.
LOOKAHEAD = 2
#: Mel frames per second of every supported encoder.
FRAMES_PER_SECOND = 100
_DECADE = math.log(10.0)
#: Number of mel filters that are applied together.
_BLOCK = 16
#: Part of every key of cached features. Increase it after every change here or in `dramaeval.data.audio.decode` that
#: changes the values of a clip.
VERSION = 4


@dataclass(frozen=True)
class ClipFeatures:
    """The audio encoder's input for one clip.

    Attributes:
        values: float32 ``[mel bins, frames + lookahead]``; the columns after ``frames`` equal those of the
            padded transform (the tail of the last window, then silence).
        frames: number of columns that belong to the clip (10 ms each).
        floor: feature value of silence for this clip, used as padding in a batch.
        key: cache key of the values and of everything computed from them; empty if they do not come from an
            unchanged file (but are perturbed, silenced or passed as samples).
        window: index of the window in its clip.
    """

    values: np.ndarray
    frames: int
    floor: float
    key: str = ""
    window: int = 0


@dataclass(frozen=True)
class EncodedClip:
    """A clip that a frozen audio tower encoded earlier: a tensor ``[steps, width]``, and frames and window as in
    `ClipFeatures`.
    """

    values: Any
    frames: int
    window: int = 0


class LogMel:
    """Whisper's log-mel transform (Radford et al. 2022, section 2.2) without the 30 s of padding.

    Args:
        feature_extractor: a ``WhisperFeatureExtractor``, from which parameters and filters are taken.
    """

    #: Whether the rows of the values are mel bins.
    has_mel_bins = True

    def __init__(self, feature_extractor: Any) -> None:
        import torch

        require_no_dither(feature_extractor)
        self.sampling_rate: int = feature_extractor.sampling_rate
        self.hop: int = feature_extractor.hop_length
        self.n_fft: int = feature_extractor.n_fft
        self.max_samples: int = feature_extractor.n_samples
        self.mel_bins: int = feature_extractor.feature_size
        self._window = torch.hann_window(self.n_fft)
        filters = np.asarray(feature_extractor.mel_filters, dtype=np.float32)
        self._filters = _in_blocks(filters.T)
        rates = self.sampling_rate, self.hop
        settings = (VERSION, *rates, self.n_fft, self.max_samples, self.mel_bins)
        digest = hashlib.blake2b(filters.tobytes(), digest_size=8).hexdigest()
        #: Identifies the transform: transforms with equal names compute equal values.
        self.name = f"{settings}-{digest}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip.

        Args:
            waveform: float32 mono samples ``[samples]`` at ``sampling_rate``, at most ``max_samples``.

        Raises:
            ValueError: the waveform is empty, not one-dimensional, or longer than the model's maximum.
        """
        import torch

        self._require_valid(waveform)
        frames = math.ceil(waveform.size / self.hop)
        # The padded transform omits the frame that is centred on the end of its window.
        width = min(frames + LOOKAHEAD, self.max_samples // self.hop)
        samples = torch.from_numpy(self._with_edges(waveform, width))
        windows = samples.as_strided((width, self.n_fft), (self.hop, 1)) * self._window
        parts = torch.view_as_real(torch.fft.rfft(windows)).square_().numpy()
        power = torch.from_numpy(parts[..., 0] + parts[..., 1])
        mel = torch.empty(self.mel_bins, width)
        for rows, columns, weights in self._filters:
            torch.mm(weights, power[:, columns].T, out=mel[rows])
        # On one core, numpy adds strided values and computes logarithms several times faster than torch.
        values = mel.numpy()
        with np.errstate(divide="ignore"):  # log(0) is replaced by the floor below
            np.log(values, out=values)
        # Eight decades below the loudest cell, as in Whisper; silence after the clip is -10.
        lowest = max(float(values.max()) / _DECADE - 8.0, -10.0)
        floor = (lowest + 4.0) / 4.0
        np.multiply(values, 1 / (4.0 * _DECADE), out=values)
        np.add(values, 1.0, out=values)
        np.maximum(values, np.float32(floor), out=values)
        return ClipFeatures(values=values, frames=frames, floor=floor)

    def _require_valid(self, waveform: np.ndarray) -> None:
        if waveform.ndim != 1 or waveform.size == 0:
            raise ValueError(
                f"A clip is one row of samples, got an array of shape {waveform.shape}."
            )
        if waveform.size > self.max_samples:
            most = self.max_samples / self.sampling_rate
            seconds = beside(waveform.size / self.sampling_rate, most)
            raise ValueError(f"The clip lasts {seconds} s; the model takes at most {most:.0f} s.")

    def _with_edges(self, waveform: np.ndarray, width: int) -> np.ndarray:
        """The samples that ``width`` frames cover, with the same edges as in the 30 s window.

        The samples before the clip are its mirror image, those after it are silence, those after the window are the
        mirror image of the window's end.
        """
        half = self.n_fft // 2
        samples = np.zeros((width - 1) * self.hop + self.n_fft, dtype=np.float32)
        samples[half : half + waveform.size] = waveform
        samples[:half] = samples[half + 1 : 2 * half + 1][::-1]
        end = half + self.max_samples
        past = len(samples) - end
        if past > 0:
            samples[end:] = samples[end - 1 - past : end - 1][::-1]
        return samples


class PaddedLogMel(LogMel):
    """The features of the ``WhisperFeatureExtractor`` itself, padded to 30 s: the slower reference for `LogMel`."""

    def __init__(self, feature_extractor: Any) -> None:
        super().__init__(feature_extractor)
        self._extractor = feature_extractor
        # The values differ from those of `LogMel` by rounding, so they need other cache keys.
        self.name = f"padded {self.name}"

    def __call__(self, waveform: np.ndarray) -> ClipFeatures:
        """Transform one clip, as in `LogMel`."""
        self._require_valid(waveform)
        output = self._extractor(waveform, sampling_rate=self.sampling_rate, return_tensors="np")
        values = output["input_features"][0]
        frames = math.ceil(waveform.size / self.hop)
        width = min(frames + LOOKAHEAD, values.shape[1])
        # Eight decades below the loudest cell are 2 units of features; silence is (-10 + 4) / 4.
        floor = max(float(values.max()) - 2.0, -1.5)
        return ClipFeatures(
            values=np.ascontiguousarray(values[:, :width]), frames=frames, floor=floor
        )


def require_no_dither(feature_extractor: Any) -> None:
    """Raise a ValueError if the feature extractor adds random noise."""
    if getattr(feature_extractor, "dither", 0.0):
        raise ValueError(
            "The feature extractor asks for dither, which adds noise to every clip and makes scores "
            "irreproducible. Set `dither` to 0.0 in preprocessor_config.json."
        )


def _in_blocks(filters: np.ndarray) -> list[tuple[slice, slice, torch.Tensor]]:
    """Mel filters ``[mel bins, frequencies]`` in blocks: rows, columns and weights of each block.

    A filter covers only a few neighbouring frequencies; without blocks, most multiplications would be by zero.
    """
    import torch

    blocks = []
    for start in range(0, len(filters), _BLOCK):
        rows = filters[start : start + _BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        weights = torch.from_numpy(np.ascontiguousarray(rows[:, columns]))
        blocks.append((slice(start, start + len(rows)), columns, weights))
    return blocks


def pad_features(clips: list[ClipFeatures]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack clips into ``[clips, mel bins, longest]`` float32 and their frame counts ``[clips]``.

    Each clip is padded with its ``floor``, so that a clip's encoding does not depend on the other clips of the batch.
    """
    import torch

    width = max(clip.values.shape[1] for clip in clips)
    features = torch.empty(len(clips), clips[0].values.shape[0], width)
    for row, clip in enumerate(clips):
        length = clip.values.shape[1]
        features[row, :, :length] = torch.from_numpy(clip.values)
        features[row, :, length:] = clip.floor
    return features, torch.tensor([clip.frames for clip in clips])
