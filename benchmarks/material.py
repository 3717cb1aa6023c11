"""Writes the data of all contenders: records with ten rated dimensions and clips of 3 to 12 s.

Scenes and profiles consist of sentences of the bundled sample, so that a prompt has about 400 to 700 tokens of text.
Clips are modulated noise at common sampling rates. Nothing is downloaded, and the same seed writes the same files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.midsize import TINY
from dramaeval.config.schema import PACKAGE

RATES = (8_000, 16_000, 22_050, 44_100, 48_000)
SECONDS = (3.0, 12.0)
TEXT_TOKENS = (420, 700)
#: Tokens of a prompt that do not depend on the record: system, headings, the dimension's rubric.
_FRAME = 148
_SENTENCES = PACKAGE / "data" / "sample" / "realism" / "test.jsonl"


def write(folder: Path, count: int, seed: int = 0) -> Path:
    """Write ``clips.jsonl`` of so many records beside its clips, unless it is there; returns the file."""
    import soundfile
    from transformers import AutoTokenizer

    file = folder / "clips.jsonl"
    if file.is_file():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    rng = np.random.default_rng(seed)
    sample = [json.loads(line) for line in _SENTENCES.read_text("utf-8").splitlines()]
    lines = []
    for number in range(count):
        rate = RATES[number % len(RATES)]
        wave = _wave(rng, rng.uniform(*SECONDS), rate)
        soundfile.write(folder / f"{number:04}.wav", wave, rate)
        lines.append(_record(rng, number, sample, tokenizer) | {"wav_path": f"{number:04}.wav"})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    return file


def _wave(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    """Noise whose loudness is modulated at about 4 Hz, the syllable rate of speech."""
    time = np.arange(round(seconds * rate)) / rate
    loudness = 0.12 * (1 + np.sin(2 * np.pi * rng.uniform(3, 5) * time)) / 2
    return (rng.standard_normal(len(time)) * loudness).clip(-1, 1).astype(np.float32)


def _record(
    rng: np.random.Generator, number: int, sample: list[dict[str, Any]], tokenizer: Any
) -> dict[str, Any]:
    wanted = int(rng.integers(*TEXT_TOKENS, endpoint=True)) - _FRAME
    first = sample[int(rng.integers(len(sample)))]
    texts: dict[str, list[str]] = {"char_profile": [], "local_scene": []}
    for other in [first, *(sample[int(at)] for at in rng.integers(len(sample), size=100))]:
        key = min(texts, key=lambda name: len(texts[name]))
        length = len(tokenizer(other[key])["input_ids"])
        if length <= wanted:
            texts[key].append(other[key])
            wanted -= length
    fields = list(first["annotations"])
    ratings = {field: rng.integers(1, 6, size=4).tolist() for field in fields}
    kept = {key: first[key] for key in ("char_age", "char_style", "transcript")}
    return {
        "id": f"bench-{number:04}",
        **kept,
        **{key: " ".join(found) for key, found in texts.items()},
        "character": f"character {number}",
        "annotations": ratings,
    }
