"""Annotated clips for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

FIELDS = (
    "pitch_variation",
    "rhythmic_naturalness",
    "stress_and_emphasis",
    "emotion_accuracy",
    "emotion_intensity_control",
    "dynamic_range",
    "voice_identity_matching",
    "trait_embodiment",
    "local_story_fit",
    "global_story_coherence",
)


def write_clips(
    folder: Path, name: str, count: int, *, seconds: Sequence[float] = (), seed: int = 0
) -> Path:
    """Write a JSONL of realism records whose loudness increases with their ratings."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        length = seconds[number % len(seconds)] if seconds else rng.uniform(0.5, 2.0)
        loudness = rng.uniform(0.01, 0.3)
        wave = rng.standard_normal(round(16_000 * length)) * loudness
        soundfile.write(folder / f"{name}{number}.wav", wave.clip(-1, 1), 16_000)
        level = 1 + 4 * loudness / 0.3
        ratings = {
            field: [int(np.clip(round(level + rng.normal()), 1, 5)) for _ in range(6)]
            for field in FIELDS
        }
        lines.append(
            {
                "id": f"{name}-{number}",
                "local_scene": f"Evening {name} {number}: the crew waits for news.",
                "char_age": "Adult",
                "char_style": "Calm, Dry",
                "char_profile": f"Number {number} of the {name} crew.",
                "transcript": f"That makes {number}.",
                "wav_path": f"{name}{number}.wav",
                "character": f"{name} character {number // 2}",
                "annotations": ratings,
            }
        )
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def write_pairs(file: Path) -> Path:
    """Write a JSONL that pairs each clip of ``file`` with the clip before it; the preferred clip varies."""
    clips = [json.loads(line)["wav_path"] for line in file.read_text().splitlines()]
    lines = [
        {
            "id": f"pair {number}", "question": f"Line {number}.", "wav_path_a": clip, "wav_path_b": clips[number - 1],
            "annotations": {
                "human_likeness": ["a", "tie"] if number % 2 else ["b", "b"],
                "appropriateness": [number % 5 - 2, None],
            },
        }
        for number, clip in enumerate(clips)
    ]  # fmt: skip
    pairs = file.with_suffix(".pairs.jsonl")
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return pairs
