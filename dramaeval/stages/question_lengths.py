"""The lengths of all questions in tokens: estimated from texts and durations, and counted for the longest questions."""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dramaeval.data.logmel import FRAMES_PER_SECOND
from dramaeval.data.problems import Problem
from dramaeval.data.records import Record
from dramaeval.models.families.base import Family
from dramaeval.models.inputs.question_length import clip_tokens, question_tokens, too_long
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.planning.flops import Work
from dramaeval.stages.thought_cost import thoughts_about
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import training_record

#: English text has about four characters per token in Qwen's vocabulary.
_CHARACTERS_PER_TOKEN = 4
#: The number of questions with the largest estimates whose tokens are counted.
_CANDIDATES = 64


@dataclass(frozen=True)
class QuestionLengths:
    """The lengths of the questions of all splits in tokens.

    Attributes:
        longest: the number of tokens of the longest question with its answer.
        counted: whether the model's tokenizer has counted ``longest``; otherwise it is estimated.
        too_long: problems of questions that have more tokens than the model has positions, always counted.
        longest_record: the record of the longest question, with file and line.
        largest: the estimated work for the record with the most tokens.
        training: the estimated work for each training record.
    """

    longest: int
    longest_record: str
    largest: Work
    training: Sequence[Work]
    counted: bool = False
    too_long: Sequence[Problem] = ()


def question_lengths(
    splits: Mapping[str, Sequence[Record]],
    task: Task,
    family: Family,
    *,
    questions_per_clip: int | None,
    shared_prefix: bool,
    clips_per_pass: int = 1,
    record_encoder: RecordEncoder | None = None,
    positions: int | None = None,
    seed: int = 0,
) -> QuestionLengths:
    """Estimate the lengths of all questions, and count those that may be the longest or too long.

    Args:
        family: the model family, which determines the tokens of a clip.
        questions_per_clip, shared_prefix: see ``batch``.
        clips_per_pass: number of clips of a forward pass, which compute the text before all clips once.
        record_encoder: the encoder that tokenises questions; None: all lengths are estimated.
        positions: the number of the model's positions; None without a limit.
        seed: the seed of the training; its questions are those of the first epoch.
    """
    longest = _Longest(record_encoder, positions)
    first_text = len(_text_of([{"content": task.first_parts}])) // _CHARACTERS_PER_TOKEN
    saved = first_text - first_text // clips_per_pass if shared_prefix else 0
    largest, training = Work(prefix=0, branches=1, width=0), []
    numbered = (
        (name, number, record)
        for name, records in splits.items()
        for number, record in enumerate(records)
    )
    for name, number, record in numbered:
        rng = np.random.default_rng([seed, 0, number, 2]) if name == "train" else None
        if name == "train":
            record = training_record(task, record, (seed, 0, number))
        questions = task.questions(record, task.dimensions_for(record), rng)
        if not questions:
            continue
        for question in questions:
            longest.add(record, question, clip_tokens(family, task, record, question))
        step = _step(questions, questions_per_clip)
        prefix, width = _row(family, task, record, step, shared_prefix=shared_prefix)
        prefix, width = (prefix - saved, width) if prefix else (prefix, width - saved)
        seconds = [example.seconds for example in task.examples(record)]
        seconds += record.prompt_clips.values()
        frames = [max(1, round(length * FRAMES_PER_SECOND)) for length in seconds]
        # In scoring, each generated thought has a separate branch.
        if any(question.generates_thought for question in step):
            width += task.max_written_tokens(record)
        work = Work(
            prefix=prefix,
            branches=sum(map(thoughts_about, step)),
            width=width,
            frames=sum(map(family.encoded_frames, frames)),
            answers=max(map(_answer_tokens, step)),
        )
        largest = max(largest, work, key=lambda item: item.tokens)
        if name == "train":
            training.append(work)
    tokens, record_name = longest.result()
    return QuestionLengths(
        tokens, record_name, largest, training, record_encoder is not None, longest.too_long
    )


def _step(questions: Sequence[Question], questions_per_clip: int | None) -> list[Question]:
    """The questions of one step: those about the first dimensions, for a pair about both clips."""
    by_dimension: dict[str, list[Question]] = {}
    for question in questions:
        key = question.answer_fields[0].dimension.key if question.pair else str(question.key)
        by_dimension.setdefault(key, []).append(question)
    groups = list(by_dimension.values())[: questions_per_clip or None]
    return [question for group in groups for question in group]


def _row(
    family: Family,
    task: Task,
    record: Record,
    questions: Sequence[Question],
    *,
    shared_prefix: bool,
) -> tuple[int, int]:
    """The estimated tokens of all shared prefixes, and the mean number of a question's other tokens.

    Questions share a prefix if their prompts have the same clips.
    """
    shared = total = in_prefix = 0
    for clips in dict.fromkeys(question.clips for question in questions):
        group = [question for question in questions if question.clips == clips]
        texts = [_text_of(question.messages) for question in group]
        audio = clip_tokens(family, task, record, group[0])
        prefix = 0
        if shared_prefix and len(texts) > 1:
            common = os.path.commonprefix(texts)  # noqa: RUF071 - characters, not folders
            prefix = audio + len(common) // _CHARACTERS_PER_TOKEN
        shared += prefix
        total += sum(audio + len(text) // _CHARACTERS_PER_TOKEN for text in texts)
        in_prefix += prefix * len(group)
    return shared, round((total - in_prefix) / len(questions))


class _Longest:
    """Finds the longest question, and the questions that are too long.

    Args:
        record_encoder: the encoder that tokenises questions; None: their lengths are estimated.
        positions: the number of the model's positions; None without a limit.

    Attributes:
        too_long: a problem for each record with a question that is too long.
    """

    def __init__(self, record_encoder: RecordEncoder | None, positions: int | None) -> None:
        self.record_encoder, self.positions = record_encoder, positions
        self.too_long: list[Problem] = []
        #: The questions with the largest estimates, as a heap: estimate, order of arrival, record, question.
        self._candidates: list[tuple[int, int, Record, Question]] = []
        self._added = 0

    def add(self, record: Record, question: Question, audio: int) -> None:
        """Compare a question with the others; ``audio`` is the number of tokens of its clips."""
        size = len(_text_of(question.messages).encode())
        estimate = audio + size // _CHARACTERS_PER_TOKEN + _answer_tokens(question)
        self._added += 1
        heapq.heappush(self._candidates, (estimate, -self._added, record, question))
        if len(self._candidates) > _CANDIDATES:
            heapq.heappop(self._candidates)
        if self.record_encoder is None or self.positions is None:
            return
        last = self.too_long[-1] if self.too_long else None
        if last and (last.file, last.line, last.id) == (record.file, record.line, record.id):
            return  # one problem per record
        problem = too_long(self.record_encoder, record, question, self.positions)
        if problem is not None:
            self.too_long.append(problem)

    def result(self) -> tuple[int, str]:
        """The tokens of the longest question (estimated if questions are too long), and its record with file and line."""
        encoder = None if self.too_long else self.record_encoder
        counted = [
            (question_tokens(encoder, record, question) if encoder else estimate, order, record)
            for estimate, order, record, question in self._candidates
        ]
        if not counted:
            return 0, ""
        tokens, _, record = max(counted, key=lambda item: item[:2])
        return tokens, f"record {record.id} ({record.file}:{record.line})"


def _answer_tokens(question: Question) -> int:
    """The estimated tokens of an answer, including the end of the turn."""
    return len(question.solution((0,) * len(question.answer_fields))) // _CHARACTERS_PER_TOKEN + 2


def _text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    texts = []
    for message in messages:
        content = message["content"]
        items = [{"text": content}] if isinstance(content, str) else content
        texts += [item["text"] for item in items if "text" in item]
    return "\n".join(texts)
