"""``stages=[prepare]``: the questions and answers of a training as plain lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.records import Record
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Target, Task
from dramaeval.training.question_sampler import sample_questions

log = logging.getLogger(__name__)

#: What a prepared line keeps of its record: what groups records, and what made the clip.
KEPT = ("character", "system", "language", "local_scene", "question_type")


def prepare(task: Task, splits: dict[str, Sequence[Record]], folder: Path, seed: int) -> None:
    """Write ``<split>.jsonl`` for each split, one question a line; see `dramaeval.tasks.processed`.

    Questions are worded and answered as in the first epoch of a training with the same seed, all of a record's
    dimensions that somebody rated. What nobody rated is left out and counted in the log.

    Args:
        task: asks.
        splits: the records of each.
        folder: is made where it is not there.
        seed: of what is drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, records in splits.items():
        lines = []
        left_out = 0
        for at, record in enumerate(records):
            dimensions, targets = sample_questions(task, record, (seed, 0, at))
            left_out += len(task.asked(record)) - len(dimensions)
            rng = np.random.default_rng([seed, 0, at, 2])
            lines += [
                line_of(task, record, question, targets)
                for question in task.questions(record, dimensions, rng)
            ]
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines)
        write_text_atomic(folder / f"{split}.jsonl", text, verbatim=True)
        log.info(
            "%s: %d questions about %d records in %s; %d that nobody rated left out.",
            split, len(lines), len(records), folder / f"{split}.jsonl", left_out,
        )  # fmt: skip


def line_of(
    task: Task, record: Record, question: Question, targets: dict[str, Target]
) -> dict[str, Any]:
    """One prepared line."""
    written, places = [], []
    for place in question.places:
        target = targets[place.dimension.key]
        chosen = target.written
        written.append(int(np.argmax(target.distribution)) if chosen is None else chosen)
        said: dict[str, Any] = {"dimension": place.dimension.key}
        if place.options:
            said["options"] = list(place.choices)
        else:
            said["scale"] = list(place.scale)
            said["ratings"] = list(task.ratings(record, place.dimension))
        places.append(said)
    clip = str(record.clip.resolve())
    single = len(places) == 1
    part = "" if record.part is None else f"{record.part}/"
    return {
        "id": f"{record.id}/{places[0]['dimension']}" if single else f"{part}{record.id}",
        "prompt": _with_clip(question.messages, clip),
        "solution": question.solution(tuple(written)),
        "audio": clip,
        "places": places,
        "record": record.id,
        **{key: record.fields[key] for key in KEPT if key in record.fields},
    }


def _with_clip(messages: list[dict[str, Any]], clip: str) -> list[dict[str, Any]]:
    """The messages with the clip's path as it is found from anywhere."""
    found = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            content = [
                {**part, "audio_url": clip} if part.get("type") == "audio" else part
                for part in content
            ]
        found.append({**message, "content": content})
    return found
