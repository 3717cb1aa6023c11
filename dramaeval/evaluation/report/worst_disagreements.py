"""The worst disagreements between judge and people, with their clips."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.records import Record
from dramaeval.evaluation.predictions import Prediction

RATE = 16_000
#: Compression levels of MP3 in libsndfile, from 41 to 8 kbit/s at 16 kHz mono; the first that fits is used.
COMPRESSIONS = (0.8, 0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A clip with its prediction on the dimension on which judge and people differ most.

    ``gap`` is expected score − mean rating, in score units.
    """

    record: Record
    prediction: Prediction
    gap: float


def worst(
    predictions: Sequence[Prediction], records: Sequence[Record], most: int = 10
) -> list[Disagreement]:
    """The clips with the largest gaps relative to the scale, in falling order, each on its worst dimension."""
    by_id = {record.id: record for record in records}
    worst_of_clip: dict[str, tuple[float, float, Prediction]] = {}
    for prediction in predictions:
        mean = prediction.mean_rating
        if prediction.expected is None or mean is None or prediction.id not in by_id:
            continue
        gap = prediction.expected - mean
        size = abs(gap) / (prediction.scale[-1] - prediction.scale[0])
        if prediction.id not in worst_of_clip or size > worst_of_clip[prediction.id][0]:
            worst_of_clip[prediction.id] = (size, gap, prediction)
    ordered = sorted(worst_of_clip.values(), key=lambda entry: (-entry[0], entry[2].id))
    return [
        Disagreement(record=by_id[prediction.id], prediction=prediction, gap=gap)
        for _, gap, prediction in ordered[:most]
    ]


def sounds(records: Sequence[Record], room: int, max_seconds: float) -> dict[str, str]:
    """Encode the clips as data URIs (MP3, 16 kHz, mono), by record id, in at most ``room`` characters.

    All clips have the same compression, the lowest that fits. Clips that cannot be decoded are left out; so are clips
    that do not fit at the highest compression.
    """
    waves = _decoded(records, max_seconds)
    uris: dict[str, str] = {}
    for compression in COMPRESSIONS:
        uris = {name: _uri(wave, compression) for name, wave in waves.items()}
        if sum(map(len, uris.values())) <= room:
            return uris
    embedded: dict[str, str] = {}
    for name, uri in uris.items():
        if sum(map(len, embedded.values())) + len(uri) <= room:
            embedded[name] = uri
    return embedded


def _decoded(records: Sequence[Record], max_seconds: float) -> dict[str, np.ndarray]:
    waves = {}
    for record in records:
        try:
            waves[record.id] = decode(record.clip, RATE, max_seconds=max_seconds)
        except UnreadableClipError:
            continue
    return waves


def _uri(wave: np.ndarray, compression: float) -> str:
    buffer = io.BytesIO()
    settings: dict[str, Any] = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    peak = float(np.abs(wave).max())
    soundfile.write(
        buffer,
        wave / peak if peak > 1 else wave,
        RATE,
        bitrate_mode="CONSTANT",
        compression_level=compression,
        **settings,
    )
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
