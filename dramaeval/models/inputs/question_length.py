"""The length of a question in tokens (prompt, clips and answer), computed without decoding clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.data.logmel import FRAMES_PER_SECOND
from dramaeval.data.problems import Problem
from dramaeval.data.records import Record
from dramaeval.models.chat_templates import content_parts
from dramaeval.models.families.base import Family
from dramaeval.models.inputs.question_encoder import AnswerTokens
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Task


def clip_frames(task: Task, record: Record, question: Question) -> list[int]:
    """The number of mel frames of each clip in a prompt: clips of examples, then those of the question."""
    seconds = [example.seconds for example in task.examples(record)]
    seconds += [record.prompt_clips[clip] for clip in question.clips or (record.clip,)]
    return [max(1, round(length * FRAMES_PER_SECOND)) for length in seconds]


def clip_tokens(family: Family, task: Task, record: Record, question: Question) -> int:
    """The number of prompt positions of the clips in a prompt, without the text around windows of long clips."""
    if not family.takes_audio:
        return 0
    return sum(map(family.audio_tokens, clip_frames(task, record, question)))


def prompt_tokens(
    record_encoder: RecordEncoder, record: Record, question: Question, limit: int
) -> int:
    """The number of tokens of a prompt with its clips; or an upper bound that is within the limit."""
    family = record_encoder.family
    frames = clip_frames(record_encoder.task, record, question) if family.takes_audio else []
    audio = sum(map(family.audio_tokens, frames))
    counts = [len(record_encoder.unread(count)) for count in frames]
    question = record_encoder.in_windows(question, counts)
    placeholders = sum(counts) if family.names_windows else len(counts)
    # A token has at least one byte. With this bound, only few prompts have to be tokenised.
    bound = audio + message_bytes(question.messages)
    if bound <= limit:
        return bound
    return audio + len(record_encoder.encoder.prompt(question.messages)) - placeholders


def question_tokens(
    record_encoder: RecordEncoder, record: Record, question: Question, limit: int = 0
) -> int:
    """The number of tokens of a question with its longest answer; or an upper bound that is within the limit.

    A generated thought counts with its maximum length. The last token of the answer does not count, because nothing is
    predicted after it.
    """
    answer = longest_answer(record_encoder.encoder.encode_answer(question)) - 1
    if question.generates_thought:
        answer += record_encoder.task.max_written_tokens(record)
    return answer + prompt_tokens(record_encoder, record, question, limit - answer)


def too_long(
    record_encoder: RecordEncoder, record: Record, question: Question, positions: int
) -> Problem | None:
    """The problem of a question that has more tokens than the model has positions; None if it fits."""
    length = question_tokens(record_encoder, record, question, positions)
    if length <= positions:
        return None
    return record.problem(
        "prompt",
        f"a question about it has {length:,} tokens, clips and answer included; the model has "
        f"{positions:,} positions",
        "shorten its texts, its clip or its turns (task.turns=text leaves out their clips), or lower "
        "task.shots; a prompt is never cut",
    )


def first_too_long(
    record_encoder: RecordEncoder, record: Record, positions: int | None
) -> Problem | None:
    """As `too_long`, for the first question about a record that is too long; None without a limit."""
    if positions is None:
        return None
    task = record_encoder.task
    questions = task.questions(record, task.dimensions_for(record))
    problems = (too_long(record_encoder, record, question, positions) for question in questions)
    return next(filter(None, problems), None)


def longest_answer(fields: Sequence[AnswerTokens]) -> int:
    """The number of tokens of the longest answer to a question."""
    return sum(
        len(field.lead) + max(map(len, field.choice_tokens)) + len(field.tail) for field in fields
    )


def message_bytes(messages: Sequence[Mapping[str, Any]]) -> int:
    """An upper bound of the number of bytes of a prompt's text, with the chat template."""
    total = 64
    for message in messages:
        parts = content_parts(message["content"])
        total += sum(len(part.get("text", "").encode()) + 16 for part in parts) + 32
    return total
