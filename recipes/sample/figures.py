"""Measures the finished sample: sizes, the human ceiling, the variance that text and audio explain.

`python -m recipes.sample.figures` prints the table that the data card holds.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.jsonl import json_lines
from recipes.sample import SAMPLE
from recipes.sample.context import context
from recipes.sample.draw import SYSTEMS, draw_delivery
from recipes.sample.quality import ARCHETYPE, REALISM, realism_quality
from recipes.sample.raters import rate
from recipes.sample.speech import ARTEFACTS, EMOTIONS, PAUSES, STRESSES
from recipes.sample.voices import AGES, SEXES, VOICES

_FURTHER = 6000
_PARTS = ("train", "val", "test")
_AMOUNTS = ("pitch_range", "rate", "loudness_range", "level", "intensity")
_FLAGS = ("lively", "dynamic", "energetic", "emphatic", "urgent", "loud", "intensity")


def read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records of all parts of one task, and their manifest lines, in the same order."""
    records = [line for part in _PARTS for line in read_lines(folder / f"{part}.jsonl")]
    manifest = read_lines(folder / "manifest.jsonl")
    return records, manifest


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines of a JSONL file."""
    return [json.loads(line) for _, line in json_lines(path)]


def ratings_of(records: list[dict[str, Any]], dimension: str) -> np.ndarray:
    """float64 `(records, raters)`, gaps as NaN."""
    rows = [record["annotations"][dimension] for record in records]
    return np.array(
        [[float(x) if isinstance(x, int) else np.nan for x in row] for row in rows], dtype=float
    )


def ceiling(ratings: np.ndarray) -> float:
    """Mean Pearson correlation of a rater with the mean of the others, over records both have."""
    values = []
    for rater in range(ratings.shape[1]):
        others = np.delete(ratings, rater, axis=1)
        kept = ~np.isnan(ratings[:, rater]) & ~np.isnan(others).all(axis=1)
        mean = np.nanmean(others[kept], axis=1)
        values.append(np.corrcoef(ratings[kept, rater], mean)[0, 1])
    return float(np.mean(values))


def realism_table(folder: Path) -> str:
    """Markdown: each dimension's mean, ceiling, latent, and what text, sound and both explain."""
    records, manifest = read(folder)
    text = np.array([_text_features(entry["calls_for"]) for entry in manifest])
    sound = np.array([_sound_features(entry["delivery"]) for entry in manifest])
    both = np.hstack([text, sound])
    more_text, more_sound, more_means = _more_records(_FURTHER)
    more_both = np.hstack([more_text, more_sound])
    rows = []
    for dimension in REALISM:
        ratings = ratings_of(records, dimension)
        mean = np.nanmean(ratings, axis=1)
        latent = np.array([entry["latent"][dimension] for entry in manifest])
        explained = [
            _explained(further, more_means[dimension], features, mean)
            for further, features in (
                (more_text, text),
                (more_sound, sound),
                (more_both, both),
            )
        ]
        rows.append(
            (dimension, mean.mean(), ceiling(ratings), _correlation(mean, latent), *explained)
        )
    rows.append(("mean of the ten", *np.mean([row[1:] for row in rows], axis=0)))
    return _table(
        ("dimension", "mean", "ceiling", "latent", "text", "sound", "both"),
        rows,
    )


def archetype_table(folder: Path) -> str:
    """Markdown: each graded dimension's mean, ceiling and latent, over clips that pass."""
    records, manifest = read(folder)
    rows = []
    for dimension in ARCHETYPE:
        ratings = ratings_of(records, dimension)
        kept = (~np.isnan(ratings)).sum(axis=1) >= 2
        latent = np.array([entry["latent"][dimension] for entry in manifest])[kept]
        mean = np.nanmean(ratings[kept], axis=1)
        rows.append((dimension, mean.mean(), ceiling(ratings[kept]), _correlation(mean, latent)))
    return _table(("dimension", "mean", "ceiling", "latent"), rows)


def counts(out: Path) -> dict[str, Any]:
    """Records, hours and megabytes, as the data card names them."""
    facts: dict[str, Any] = {}
    seconds = 0.0
    for task in ("realism", "archetype"):
        for part in _PARTS:
            facts[f"{task}_{part}"] = len(read_lines(out / task / f"{part}.jsonl"))
        lengths = [entry["seconds"] for entry in read_lines(out / task / "manifest.jsonl")]
        facts[f"{task}_seconds"] = f"{np.mean(lengths):.2f}"
        seconds += sum(lengths)
    facts["hours"] = f"{seconds / 3600:.2f}"
    files = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    facts["megabytes"] = f"{sum(path.stat().st_size for path in files) / 1e6:.1f}"
    records, _ = read(out / "realism")
    gaps = np.mean([np.isnan(ratings_of(records, dimension)).mean() for dimension in REALISM])
    facts["gaps"] = f"{100 * gaps:.1f}"
    archetype, manifest = read(out / "archetype")
    facts["rejected"] = sum(entry["calls_for"]["content"] != "answer" for entry in manifest)
    facts["mandarin"] = sum(r["language"] == "zh" for r in [*records, *archetype])
    facts["records"] = len(records) + len(archetype)
    return facts


def _more_records(count: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Text and sound features and mean ratings of further simulated records, without audio."""
    rng = np.random.default_rng(99)
    text, sound, ratings = [], [], []
    for index in range(count):
        drawn = context(rng, "sample")
        system = list(SYSTEMS)[index % len(SYSTEMS)]
        delivery = draw_delivery(
            rng, "sample", system=system, nature=drawn.nature, moment=drawn.moment
        )
        text.append(_text_features({**asdict(drawn.nature), **asdict(drawn.moment)}))
        sound.append(_sound_features(asdict(delivery)))
        quality = realism_quality(drawn.nature, drawn.moment, delivery)
        ratings.append({"annotations": rate(quality, rng)})
    means = {name: np.nanmean(ratings_of(ratings, name), axis=1) for name in REALISM}
    return np.array(text), np.array(sound), means


def _explained(
    further: np.ndarray, further_means: np.ndarray, features: np.ndarray, means: np.ndarray
) -> float:
    """Correlation of the sample's mean ratings with boosted trees learned on further records."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(max_iter=200, random_state=0).fit(further, further_means)
    return _correlation(model.predict(features), means)


def _text_features(requirements: dict[str, Any]) -> list[float]:
    return [
        *_one_hot(requirements["sex"], SEXES),
        *_one_hot(requirements["age"], AGES),
        *_one_hot(requirements["emotion"], EMOTIONS),
        *(float(requirements[flag]) for flag in _FLAGS),
    ]


def _sound_features(delivery: dict[str, Any]) -> list[float]:
    voice = VOICES[delivery["voice"]]
    return [
        *_one_hot(voice.sex, SEXES),
        *_one_hot(voice.age, AGES),
        *_one_hot(delivery["emotion"], EMOTIONS),
        *_one_hot(delivery["pauses"], PAUSES),
        *_one_hot(delivery["stress"], STRESSES),
        *_one_hot(delivery["artefact"], ARTEFACTS),
        *(float(delivery[amount]) for amount in _AMOUNTS),
    ]


def _one_hot(value: str, choices: tuple[str, ...]) -> list[float]:
    return [float(value == choice) for choice in choices]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, *values in rows:
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    _sample = SAMPLE
    print(counts(_sample), realism_table(_sample / "realism"), sep="\n\n")
    print("\n" + archetype_table(_sample / "archetype"))
