"""The multiple-choice part of the sample: questions about properties of existing clips.

    python -m recipes.sample.questions [--out FOLDER]

The records refer to clips of the realism sample, and every answer follows from its
manifest, from which the clips were synthesised. Train, val and test ask about clips of the same part.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.jsonl import json_lines
from recipes.sample import SAMPLE
from recipes.sample.voices import VOICES

SEED = 2026
PARTS = {"train": 72, "val": 20, "test": 28}
"""Clips of each part."""
QUESTIONS_A_CLIP = 3

_EMOTIONS = {
    "neutral": "no particular feeling",
    "joy": "joy",
    "anger": "anger",
    "sadness": "sadness",
    "fear": "fear",
}
_RATES = ("slowly", "at a medium pace", "fast")
_LEVELS = ("in a hushed voice", "at a normal level", "in a raised voice")
_ARTEFACTS = {
    "none": "nothing, it is clean",
    "noise": "a steady hiss",
    "clipping": "distortion from clipping",
    "robotic": "a robotic ring",
    "dropouts": "short gaps in the sound",
}
_AGES = {
    "child": "a child",
    "teenager": "a teenager",
    "adult": "an adult",
    "elderly": "an old person",
}
_LANGUAGES = {"en": "English", "zh": "Mandarin"}
_CLEAR = 0.2
"""Smallest distance of a property from the middle third, so that its answer is unambiguous."""

Entry = Mapping[str, Any]
Answer = tuple[str, list[str]]


def _voice(entry: Entry) -> Answer:
    sexes = ["a woman or girl", "a man or boy"]
    return sexes[VOICES[entry["delivery"]["voice"]].sex == "man"], sexes


def _age(entry: Entry) -> Answer:
    return _AGES[VOICES[entry["delivery"]["voice"]].age], list(_AGES.values())


def _emotion(entry: Entry) -> Answer:
    return _EMOTIONS[entry["delivery"]["emotion"]], list(_EMOTIONS.values())


def _language(entry: Entry) -> Answer:
    return _LANGUAGES[entry["language"]], list(_LANGUAGES.values())


def _rate(entry: Entry) -> Answer | None:
    return _third(entry["delivery"]["rate"], _RATES)


def _level(entry: Entry) -> Answer | None:
    return _third(entry["delivery"]["level"], _LEVELS)


def _recording(entry: Entry) -> Answer:
    return _ARTEFACTS[entry["delivery"]["artefact"]], list(_ARTEFACTS.values())


def _words(entry: Entry) -> Answer | None:
    if entry["language"] != "en":
        return None  # the number of words is not well defined in Mandarin
    count = len(words_of(entry["text"]))
    # The position of the right number among the sorted options varies, so that text alone does not reveal it.
    lowest = max(count - 2 * (entry["seed"] % 5), 1 + (count + 1) % 2)
    return str(count), [str(lowest + step) for step in range(0, 10, 2)]


def _third(value: float, words: tuple[str, str, str]) -> Answer | None:
    """The low, middle or high one of three, where the value lies well inside its third."""
    for index, (low, high) in enumerate(((0.0, _CLEAR), (0.4, 0.6), (1 - _CLEAR, 1.0))):
        if low <= value <= high:
            return words[index], list(words)
    return None


KINDS: dict[str, tuple[str, Callable[[Entry], Answer | None]]] = {
    "voice": ("Who is speaking?", _voice),
    "age": ("How old does the speaker sound?", _age),
    "emotion": ("Which feeling is in the voice?", _emotion),
    "language": ("Which language is spoken?", _language),
    "pace": ("How fast is the line spoken?", _rate),
    "level": ("How loud is the voice?", _level),
    "recording": ("What is wrong with the recording?", _recording),
    "words": ("How many words are spoken?", _words),
}


def words_of(text: str) -> list[str]:
    """The words of an English line."""
    return re.findall(r"[A-Za-z0-9'’]+", text)


def build(out: Path, source: Path, say: Callable[[str], None] = print) -> None:
    """Write ``<part>.jsonl``.

    Args:
        out: the folder.
        source: the realism sample's folder, with its manifest and clips.
        say: called with progress messages.
    """
    manifest = [json.loads(line) for _, line in json_lines(source / "manifest.jsonl")]
    out.mkdir(parents=True, exist_ok=True)
    for number, (part, count) in enumerate(PARTS.items()):
        rng = np.random.default_rng([SEED, 4, number])
        entries = [entry for entry in manifest if entry["id"].startswith(f"realism_{part}_")]
        taken = [
            entries[index] for index in sorted(rng.choice(len(entries), size=count, replace=False))
        ]
        records = []
        for turn, entry in enumerate(taken):
            clip = source / "clips" / f"{entry['id']}.mp3"
            records += questions(entry, os.path.relpath(clip, out), turn, rng)
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (out / f"{part}.jsonl").write_text(text, encoding="utf-8")
        say(f"avqa/{part}: {len(records)} questions about {len(taken)} clips")


def questions(entry: Entry, clip: str, turn: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The records of one clip. The kinds rotate by ``turn``; kinds without a clear answer for the clip are skipped."""
    kinds = list(KINDS)
    order = [kinds[(turn * QUESTIONS_A_CLIP + step) % len(kinds)] for step in range(len(kinds))]
    records: list[dict[str, Any]] = []
    for kind in order:
        text, answer_of = KINDS[kind]
        answer = answer_of(entry)
        if answer is None:
            continue
        right, options = answer
        options = [options[index] for index in rng.permutation(len(options))]
        records.append(
            {
                "id": f"avqa_{entry['id'].removeprefix('realism_')}_{kind}",
                "dataset_name": "AVQA",
                "question_text": text,
                "multi_choice": options,
                "answer": options.index(right),
                "question_type": kind,
                "audio_path": clip,
            }
        )
        if len(records) == QUESTIONS_A_CLIP:
            break
    return records


def main(arguments: list[str]) -> None:
    """Build the questions, by default into the package."""
    sample = SAMPLE
    match arguments:
        case []:
            out = sample / "avqa"
        case ["--out", folder]:
            out = Path(folder)
        case _:
            sys.exit("usage: python -m recipes.sample.questions [--out FOLDER]")
    build(out, sample / "realism")


if __name__ == "__main__":
    main(sys.argv[1:])
