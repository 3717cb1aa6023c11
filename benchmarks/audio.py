"""Measures decoding, resampling and the log-mel spectrogram of a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import torch

from benchmarks.bench import Bench
from benchmarks.plain import load_audio
from benchmarks.timing import OURS, Row, Turn, alternate, seconds
from dramaeval.data.audio import decode
from dramaeval.data.logmel import LogMel

PADDED = "WhisperFeatureExtractor, padded to 30 s"


def log_mel(bench: Bench) -> list[Row]:
    """The log-mel spectrogram alone, and all work from the file to the features; on one core and on all cores."""
    product = bench.product("stages=[evaluate]")
    extractor = product.processor.feature_extractor
    transform = LogMel(extractor)
    rate = extractor.sampling_rate
    waves = [decode(one.clip, rate) for one in product.records]
    files = [str(one.clip) for one in product.records]
    count = 5 if bench.quick else len(waves)

    def padded(wave: object) -> object:
        return extractor(wave, sampling_rate=rate, return_tensors="np")

    def turn(work: Callable[[Any], object], things: Sequence[Any]) -> Turn:
        supply = cycle(things)
        return lambda: seconds(lambda: [work(next(supply)) for _ in range(count)]) / count * 1e3

    alone = {OURS: turn(transform, waves), PADDED: turn(padded, waves)}
    whole = {
        OURS: turn(lambda file: transform(decode(file, rate)), files),
        PADDED: turn(lambda file: padded(load_audio(file, rate)), files),
    }
    rows = []
    threads = torch.get_num_threads()
    places: list[tuple[int, str, float | None]] = [(1, "on one core", 10.0)]
    if threads > 1:
        places.append((threads, "on all cores", None))
    for used, where, target in places:
        torch.set_num_threads(used)
        for work, turns in (("", alone), ("decoding, resampling and ", whole)):
            rows.append(
                Row(
                    section="audio",
                    work=f"{work}log-mel of a clip, {where}",
                    unit="ms a clip",
                    rounds=alternate(turns, 2 * bench.rounds),
                    target=None if work else target,
                    note="the other decodes with librosa" if work else "",
                )
            )
        torch.set_num_threads(threads)
    return rows
