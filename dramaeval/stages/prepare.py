"""The stage ``prepare``: writes the questions and answers of a training as JSONL, with a file for each split."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import files_of, parts_of, where_of
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.inline_audio import INLINE
from dramaeval.data.raters import RATERS
from dramaeval.data.records import Record
from dramaeval.data.turns import AUDIO
from dramaeval.stages.context import RunContext
from dramaeval.stages.fingerprint import CLIP_HASH
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.scale import number_text
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import sample_questions, training_record

log = logging.getLogger(__name__)

#: Keys that a line copies from its record; they group records, or name the system that produced the clip.
COPIED = ("character", "system", "language", "local_scene", "question_type")


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    if Stage.prepare not in config.stages:
        return []
    if not files_of(config.task):
        return ["stages has prepare, but there is no file: give task.data.train, val or test."]
    if config.task.get("shots"):
        return [
            f"task.shots={config.task.shots} with stages=[prepare]: a prepared line holds one clip, and examples "
            "have their own. Set task.shots=0."
        ]
    return [
        f"{where_of(config.task, part)} with stages=[prepare]: a prepared line holds one clip, and {others}."
        for part, node in parts_of(config.task).items()
        if (others := _other_clips(node))
    ]


def _other_clips(task: Any) -> str | None:
    """The part of the message about further clips in the prompts of a task; None if they have no further clips."""
    if task.get("turns") == AUDIO:
        return "turns have their own. Set task.turns=text"
    chosen = task.get("dimensions")
    dimensions = [
        d for d in (task.get("rubric") or {}).get("dimensions") or () if OmegaConf.is_dict(d)
    ]
    if any(d.get("reference") and (chosen is None or d.get("key") in chosen) for d in dimensions):
        return "a reference is another. Choose dimensions without one (task.dimensions=[…])"
    return None


def run(context: RunContext) -> None:
    """Write the prepared files on rank 0."""
    folder, seed = context.folder.prepared, context.config.seed

    def write() -> None:
        prints = context.made_from.records
        clips = {split: [entry.clip for entry in prints[split]] for split in prints}
        write_questions(context.task, context.splits.records, folder, seed, clips)

    context.processes.on_rank_zero(write)


def write_questions(
    task: Task,
    splits: Mapping[str, Sequence[Record]],
    folder: Path,
    seed: int,
    clips: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write ``<split>.jsonl`` for each split, with one question per line; see `dramaeval.tasks.processed`.

    Wordings and answers are those of the first epoch of a training with the same seed. Every rated dimension of
    a record has a line; dimensions without a rating are left out and counted in the log.

    Args:
        folder: the folder of the files, which is created.
        seed: the seed of sampling.
        clips: by split, the hash of each record's clip, which is written to its lines; None: no hashes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, records in splits.items():
        lines: list[dict[str, Any]] = []
        left_out = 0
        for index, record in enumerate(records):
            if split == "train":
                record = training_record(task, record, (seed, 0, index))
            dimensions, targets = sample_questions(task, record, (seed, 0, index))
            left_out += len(task.dimensions_for(record)) - len(dimensions)
            clip = clips[split][index] if clips else ""
            hashes = {CLIP_HASH: clip} if clip else {}
            rng = np.random.default_rng([seed, 0, index, 2])
            questions = task.questions(record, dimensions, rng)
            lines += [{**line_of(task, record, item, targets), **hashes} for item in questions]
        file = folder / f"{split}.jsonl"
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text_atomic(file, text, verbatim=True)
        log.info(
            "%s: %d questions about %d records in %s; %d without a rating left out.",
            split, len(lines), len(records), file, left_out,
        )  # fmt: skip


def line_of(
    task: Task, record: Record, question: Question, targets: dict[str, Target]
) -> dict[str, Any]:
    """The content of a line: prompt, solution and clip, and for each answer its scale and ratings."""
    answers, places = [], []
    for place in question.answer_fields:
        target = targets[place.dimension.key]
        likeliest = int(np.argmax(target.distribution))
        answers.append(likeliest if target.written is None else target.written)
        entry: dict[str, Any] = {"dimension": place.dimension.key}
        if place.options:
            entry["options"] = list(place.choices)
        else:
            entry["scale"] = list(place.scale)
            if place.choices != tuple(map(number_text, place.scale)):
                entry["answers"] = list(place.choices)
            entry["ratings"] = list(task.ratings(record, place.dimension))
            raters = task.rater_info(record, place.dimension).to_json()
            entry.update({RATERS: raters} if raters is not None else {})
        places.append(entry)
    prompt, audio = list(question.messages), record.fields.get("audio")
    if record.clip != INLINE:
        audio = str(record.clip.resolve())
        prompt = _with_clip_path(question.messages, audio)
    prefix = "" if record.part is None else f"{record.part}/"
    single = len(places) == 1
    return {
        "id": f"{record.id}/{places[0]['dimension']}" if single else f"{prefix}{record.id}",
        "prompt": prompt,
        "solution": question.solution(tuple(answers)),
        "audio": audio,
        "places": places,
        "record": record.id,
        **{key: record.fields[key] for key in COPIED if key in record.fields},
    }


def _with_clip_path(messages: list[dict[str, Any]], clip: str) -> list[dict[str, Any]]:
    """A copy of the messages with the absolute path of the clip."""
    copies = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            content = [
                {**part, "audio_url": clip} if part.get("type") == "audio" else part
                for part in content
            ]
        copies.append({**message, "content": content})
    return copies
