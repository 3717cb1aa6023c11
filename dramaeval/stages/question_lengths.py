"""Estimates the tokens of prompts and clips from texts and durations, without a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dramaeval.data.records import Record
from dramaeval.models.families.base import Family
from dramaeval.models.planning.flops import Work
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Task

#: English text has about four characters a token in Qwen's vocabulary.
_CHARACTERS_A_TOKEN = 4
_FRAMES_A_SECOND = 100


@dataclass(frozen=True)
class QuestionLengths:
    """Estimated tokens over all splits.

    Attributes:
        longest: tokens of the longest question.
        longest_record: the record of that question, with file and line.
        largest: the work of the record with the most tokens.
        training: the work of a pass for each training record.
    """

    longest: int
    longest_record: str
    largest: Work
    training: Sequence[Work]


def question_lengths(
    splits: Mapping[str, Sequence[Record]],
    task: Task,
    family: Family,
    *,
    questions_per_clip: int | None,
    shared_prefix: bool,
) -> QuestionLengths:
    """Estimate the lengths of all questions.

    Args:
        splits: the records by split.
        task: words the questions.
        family: gives the tokens of a clip.
        questions_per_clip, shared_prefix: as in ``batch``.
    """
    longest, longest_record = 0, ""
    largest, training = Work(prefix=0, branches=1, width=0), []
    for name, record in [(split, record) for split in splits for record in splits[split]]:
        seconds = [clip.seconds for clip in (record, *task.examples(record))]
        frames = [max(1, round(length * _FRAMES_A_SECOND)) for length in seconds]
        audio = sum(map(family.audio_tokens, frames))
        questions = task.questions(
            record, task.dimensions_for(record)[: questions_per_clip or None]
        )
        if not questions:
            continue
        texts = [_text_of(question.messages) for question in questions]
        lengths = [audio + len(text) // _CHARACTERS_A_TOKEN for text in texts]
        if max(lengths) > longest:
            longest = max(lengths)
            longest_record = f"record {record.id} ({record.file}:{record.line})"
        prefix = 0
        if shared_prefix and len(texts) > 1:
            prefix = audio + len(_common_start(texts)) // _CHARACTERS_A_TOKEN
        work = Work(
            prefix=prefix,
            branches=len(questions),
            width=round(sum(lengths) / len(lengths)) - prefix,
            frames=sum(map(family.encoded_frames, frames)),
            answers=max(map(_answer_tokens, questions)),
        )
        largest = max(largest, work, key=lambda item: item.tokens)
        if name == "train":
            training.append(work)
    return QuestionLengths(longest, longest_record, largest, training)


def _answer_tokens(question: Question) -> int:
    """Tokens of an answer, including the end of the turn."""
    return len(question.solution((0,) * len(question.answer_fields))) // _CHARACTERS_A_TOKEN + 2


def _text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for message in messages:
        content = message["content"]
        items = [{"text": content}] if isinstance(content, str) else content
        texts += [item["text"] for item in items if "text" in item]
    return "\n".join(texts)


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    for at, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return first[:at]
    return first
