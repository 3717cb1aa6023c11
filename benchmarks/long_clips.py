"""Measures how far a judge reacts to what is past the first 30 s of a clip, with ``segments`` and with ``trim``.

    python -m benchmarks.long_clips REAL/speechocean762 RUN [--clips 4]

RUN is a run folder of a judge that was trained on the corpus, as benchmarks.real_speech trains them. Clips of 60 s are
joined from clips of one speaker of its test split. A defect takes the place of seconds 45 to 48: silence, or noise at
four times the clip's own level. The table has the mean change of the expected score by dimension.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval import Judge
from dramaeval.data.audio import decode

RATE = 16_000
SECONDS, BEGIN, END = 60, 45, 48
SETTINGS = {"segments": 60, "trim": 30}


def joined_clips(corpus: Path, count: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Clips of 60 s, each of one speaker, with the texts of the judge's task."""
    speakers = defaultdict(list)
    with (corpus / "test.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            speakers[record["character"]].append(record)
    for records in list(speakers.values())[:count]:
        waves = [decode(corpus / record["wav_path"], RATE) for record in records]
        texts: dict[str, Any] = {name: records[0][key] for name, key in _keys().items()}
        texts["transcript"] = ". ".join(record["transcript"] for record in records)
        yield np.resize(np.concatenate(waves), SECONDS * RATE), texts


def _keys() -> dict[str, str]:
    return {
        "scene": "local_scene", "profile": "char_profile", "age": "char_age", "style": "char_style",
    }  # fmt: skip


def variants(wave: np.ndarray) -> dict[str, np.ndarray]:
    """The clip, and the clip with each defect."""
    silent, noisy = wave.copy(), wave.copy()
    part = slice(BEGIN * RATE, END * RATE)
    level = 4 * float(np.sqrt(np.mean(wave**2)))
    silent[part] = 0
    noise = np.random.default_rng(0).normal(size=(END - BEGIN) * RATE) * level
    noisy[part] = noise.clip(-1, 1)
    return {"unchanged": wave, "silence": silent, "noise": noisy}


def main() -> None:
    """Score the clips and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run")
    parser.add_argument("--clips", type=int, default=4)
    words = parser.parse_args()
    judge = Judge.load(words.run, device="cpu")
    changes: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for wave, texts in joined_clips(words.corpus, words.clips):
        clips = variants(wave)
        for on_long, seconds in SETTINGS.items():
            judge.config.task.data.on_long = on_long
            judge.config.task.data.max_seconds = seconds
            scores = judge.score(
                list(clips.values()), "role", sampling_rate=RATE, clips_a_batch=1, **texts
            )
            whole, *defects = scores
            for name, defect in zip(list(clips)[1:], defects, strict=True):
                for key, score in defect.items():
                    changes[on_long, name, key].append(score.expected - whole[key].expected)
    for (on_long, name, key), values in changes.items():
        print(
            f"{on_long:<9} {name:<8} {key:<12} mean {np.mean(values):+.3f}  "
            f"largest {np.abs(values).max():.3f}  ({len(values)} clips)"
        )


if __name__ == "__main__":
    main()
