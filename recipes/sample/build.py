"""Builds the bundled sample: JSONL files, clips, manifest, data card.

Clips are MP3 (variable rate, about 37 kbit/s): of the formats soundfile writes it is the smallest
whose bytes are reproducible. Ogg files carry a random stream number.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recipes.sample.plan import PARTS, Take, plan_archetype, plan_realism
from recipes.sample.speech import OUTPUT_RATE, Delivery, synthesise

_MANIFEST = "manifest.jsonl"
PLANS: dict[str, Callable[[str], list[Take]]] = {
    "realism": plan_realism,
    "archetype": plan_archetype,
}


def build(out: Path, say: Callable[[str], None] = print) -> None:
    """Write the sample to `out`; an earlier sample there is replaced.

    Raises:
        EspeakError: no libespeak-ng.
        FileExistsError: a folder to be written holds something else.
    """
    for folder in (out / task for task in PLANS):
        if folder.exists() and any(folder.iterdir()) and not (folder / _MANIFEST).is_file():
            raise FileExistsError(
                f"{folder} holds something other than a sample: choose another folder."
            )
    for task, plan in PLANS.items():
        folder = out / task
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        for stale in (folder / "clips").glob("*.mp3"):
            stale.unlink()
        manifest: list[dict[str, Any]] = []
        for part in PARTS:
            takes = plan(part)
            _write_lines(folder / f"{part}.jsonl", (take.record for take in takes))
            for take in takes:
                samples = synthesise(take.text, take.language, take.delivery, take.seed)
                encoded = mp3(samples)
                (folder / take.record["wav_path"]).write_bytes(encoded)
                manifest.append(_manifest_line(take, samples, encoded))
            say(f"{task}/{part}: {len(takes)} records")
        _write_lines(folder / _MANIFEST, manifest)


def rebuild(entry: dict[str, Any]) -> np.ndarray:
    """Synthesise the samples of one manifest line again, with `synthesise`."""
    delivery = Delivery(**entry["delivery"])
    return synthesise(entry["text"], entry["language"], delivery, entry["seed"])


def mp3(samples: np.ndarray) -> bytes:
    """A finished clip as an MP3 file; the same samples always give the same bytes."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(
        file,
        samples,
        OUTPUT_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.5,
    )
    return file.getvalue()


def fingerprint(samples: np.ndarray) -> str:
    """SHA-256 of the samples as 16-bit integers, little end first (which keeps them exactly)."""
    return hashlib.sha256((samples * 32768).astype("<i2").tobytes()).hexdigest()


def _manifest_line(take: Take, samples: np.ndarray, encoded: bytes) -> dict[str, Any]:
    return {
        "id": take.record["id"],
        "text": take.text,
        "language": take.language,
        "delivery": asdict(take.delivery),
        "seed": take.seed,
        "calls_for": take.requirements,
        "latent": {dimension: round(value, 4) for dimension, value in take.latent.items()},
        "seconds": round(len(samples) / OUTPUT_RATE, 3),
        "samples_sha256": fingerprint(samples),
        "file_sha256": hashlib.sha256(encoded).hexdigest(),
    }


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
