"""The worst disagreements, with the clips to listen to."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.records import Record
from dramaeval.evaluation.predictions import Prediction

RATE = 16_000
#: libsndfile's compression of MP3, from 41 to 8 kbit/s at 16 kHz mono; the first that fits is taken.
COMPRESSIONS = (0.8, 0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One clip, and the dimension on which judge and people are farthest apart.

    ``gap`` is expected score − mean rating, in score units.
    """

    record: Record
    prediction: Prediction
    gap: float


def worst(
    predictions: Sequence[Prediction], records: Sequence[Record], most: int = 10
) -> list[Disagreement]:
    """The clips with the largest gaps relative to the scale, each with its worst dimension, worst first."""
    by_id = {record.id: record for record in records}
    found: dict[str, tuple[float, float, Prediction]] = {}
    for one in predictions:
        mean = one.mean_rating
        if one.expected is None or mean is None or one.id not in by_id:
            continue
        gap = one.expected - mean
        size = abs(gap) / (one.scale[-1] - one.scale[0])
        if one.id not in found or size > found[one.id][0]:
            found[one.id] = (size, gap, one)
    ordered = sorted(found.values(), key=lambda entry: (-entry[0], entry[2].id))
    return [
        Disagreement(record=by_id[one.id], prediction=one, gap=gap)
        for _, gap, one in ordered[:most]
    ]


def sounds(records: Sequence[Record], room: int, max_seconds: float) -> dict[str, str]:
    """The clips as data URIs (MP3, 16 kHz, mono), by record id, in no more than ``room`` characters.

    All are compressed alike, as little as fits. Clips that cannot be decoded are left out, and so are the
    last ones where even the smallest form does not fit.
    """
    waves: Mapping[str, np.ndarray] = _decoded(records, max_seconds)
    found: dict[str, str] = {}
    for compression in COMPRESSIONS:
        found = {name: _uri(wave, compression) for name, wave in waves.items()}
        if sum(map(len, found.values())) <= room:
            return found
    kept: dict[str, str] = {}
    for name, uri in found.items():
        if sum(map(len, kept.values())) + len(uri) <= room:
            kept[name] = uri
    return kept


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
