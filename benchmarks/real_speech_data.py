"""Writes what `benchmarks.real_speech` needs beside its corpora: rubrics, parts of the training clips, changed records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

SPLITS = ("train", "val", "test")
EXPERTS = [f"expert{number}" for number in range(1, 6)]
SHORT = "so762_short"
"""The rubric of speechocean762 without the texts of the scores: half the tokens."""
RAW = "so762_raw"
"""The rubric of speechocean762's own scores from 0 to 10."""
HIGHEST = {
    "accuracy": {1: 2, 2: 4, 3: 6, 4: 8, 5: 10},
    "fluency": {1: 3, 2: 5, 3: 7, 4: 10},
    "prosody": {1: 2, 2: 4, 3: 6, 4: 8, 5: 10},
}
"""For each band of the corpus' README, the highest score in it."""
VARIANTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Position k is always the same expert.
    "raters": lambda record: record | {"raters": EXPERTS},
    "raw": lambda record: record | {"annotations": record["raw_scores_0_10"]},
}
"""Changes of the records of speechocean762."""
NOISE_DB, TALKERS = 10.0, 6
"""Signal-to-noise ratio of the noisy test clips, and the number of other test clips whose sum is the noise."""


def write_rubrics(source: Path, folder: Path) -> None:
    """Copy the rubrics, and write `SHORT` and `RAW`, which are made from that of speechocean762."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.yaml"):
        (folder / file.name).write_bytes(file.read_bytes())
    bands = (source / "so762.yaml").read_text("utf-8")
    raw, short = yaml.safe_load(bands) | {"name": RAW}, yaml.safe_load(bands) | {"name": SHORT}
    for dimension in raw["dimensions"]:
        highest = HIGHEST[dimension["key"]]
        dimension["scale"] = {"from": 0, "to": 10}
        dimension["scores"] = {highest[band]: text for band, text in dimension["scores"].items()}
    for dimension in short["dimensions"]:
        del dimension["scores"]
    for rubric in (raw, short):
        text = yaml.safe_dump(rubric, sort_keys=False)
        (folder / f"{rubric['name']}.yaml").write_text(text, "utf-8")


def write_part(records: Path, share: int, part: Path) -> None:
    """Write one of ``share`` records: the first of a random order that is the same for all parts."""
    lines = records.read_text("utf-8").splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    chosen = sorted(order[: len(lines) // share].tolist())
    part.write_text("".join(lines[index] + "\n" for index in chosen), "utf-8")


def write_variant(records: Path, variant: str, changed: Path) -> None:
    """Write the records with the changes of `VARIANTS`."""
    lines = records.read_text("utf-8").splitlines()
    new = (json.dumps(VARIANTS[variant](json.loads(line))) + "\n" for line in lines)
    changed.write_text("".join(new), "utf-8")


def write_noisy_copy(corpus: Path, folder: Path) -> None:
    """Write the test clips with other people's talk at `NOISE_DB`: the sum of `TALKERS` random other clips, repeated.

    A clip that is there already is kept: its noise depends on its place in the file only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = [json.loads(line) for line in (corpus / "test.jsonl").read_text("utf-8").splitlines()]
    lines = []
    for index, record in enumerate(records):
        file = folder / Path(record["wav_path"]).with_suffix(".wav").name
        if not file.is_file():
            clip, rate = soundfile.read(corpus / record["wav_path"])
            others = [each for each in records if each["character"] != record["character"]]
            chosen = np.random.default_rng(index).choice(len(others), TALKERS, replace=False)
            voices = [soundfile.read(corpus / others[at]["wav_path"])[0] for at in chosen]
            talk = sum(np.resize(voice / _level(voice), clip.shape) for voice in voices)
            noise = talk * _level(clip) / _level(talk) * 10 ** (-NOISE_DB / 20)
            unfinished = file.with_suffix(".part")
            soundfile.write(unfinished, clip + noise, rate, subtype="FLOAT", format="WAV")
            unfinished.replace(file)
        lines.append(json.dumps(record | {"wav_path": str(file)}) + "\n")
    (folder / "test.jsonl").write_text("".join(lines), "utf-8")


def _level(samples: Any) -> float:
    """The root of the mean power."""
    return float(np.sqrt(np.mean(np.square(samples))))
