"""What GRPO asks: questions drawn for a step, their completions as batches, and which of them a pass takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from dramaeval.data.problems import Problem
from dramaeval.data.records import Record
from dramaeval.models.inputs.collation import Batch, EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Target
from dramaeval.training.question_sampler import EpochOrder, sample_questions


@dataclass(frozen=True)
class PromptGroup:
    """A question of a step; its completions are compared with each other.

    Attributes:
        record: about what.
        question: what is asked.
        targets: what the label policy makes of the ratings, by dimension.
        encoded_record: the clip, and the question with each place of its answer as tokens.
        seed: of what is drawn for it.
    """

    record: Record
    question: Question
    targets: Mapping[str, Target]
    encoded_record: EncodedRecord
    seed: int

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens up to where the answer begins, audio placeholders expanded."""
        return self.encoded_record.questions[0].question.prompt

    @property
    def about(self) -> tuple[str, str]:
        """The record's id and what is asked, for messages."""
        return self.record.id, "+".join(place.dimension.key for place in self.question.places)

    @property
    def answers(self) -> list[tuple[int, ...]]:
        """Every answer of the scale as tokens, up to the end of the turn; for questions of one place."""
        (asked,) = self.encoded_record.questions
        answer = asked.question.answer
        return [(*answer.lead, *choice, *answer.tail) for choice in answer.choice_tokens]


class PromptGroups:
    """Draws the question that a training record is asked in an epoch.

    Every question of a record comes up equally often over the epochs (see `dramaeval.training.question_sampler.sample_questions`).

    Args:
        records: the training records.
        record_encoder: prepares them.
        seed: of the draws.
    """

    def __init__(self, records: Sequence[Record], record_encoder: RecordEncoder, seed: int) -> None:
        self.records = records
        self.record_encoder = record_encoder
        self.seed = seed
        # The same group is wanted by the drawing of completions and by each pass over them.
        self._kept = lru_cache(maxsize=1024)(self._make)

    def __call__(self, row: int, epoch: int) -> PromptGroup:
        """The group of a record in an epoch."""
        return self._kept(row, epoch)

    def _make(self, row: int, epoch: int) -> PromptGroup:
        record = self.records[row]
        one_at_a_time = self.record_encoder.task.one_at_a_time
        dimensions, targets = sample_questions(
            self.record_encoder.task,
            record,
            (self.seed, epoch, row),
            questions_per_clip=1 if one_at_a_time else None,
        )
        rng = np.random.default_rng([self.seed, epoch, row, 2])
        question = self.record_encoder.task.questions(record, dimensions, rng)[0]
        return self.made(
            row, epoch, question, targets, self.record_encoder.encode(record, [question], targets)
        )

    def made(
        self,
        row: int,
        epoch: int,
        question: Question,
        targets: Mapping[str, Target],
        encoded_record: EncodedRecord,
    ) -> PromptGroup:
        """The group of a question that is drawn already."""
        (seed,) = np.random.SeedSequence([self.seed, epoch, row, 4]).generate_state(1, np.uint64)
        return PromptGroup(self.records[row], question, targets, encoded_record, int(seed >> 1))


def completions_batch(
    groups: Sequence[tuple[PromptGroup, Sequence[Sequence[int]]]], *, pad: int, shared_prefix: bool
) -> Batch:
    """Completions as one forward pass that reads every token of them.

    Args:
        groups: each with its completions, at least one token each.
        pad: the padding token.
        shared_prefix: one row a group, its prompt and clip computed once and a branch for each completion; else
            a row for each, with a prompt and a clip of its own.

    Returns:
        a batch whose ``labels`` are the completions' tokens, one after the other, and whose ``question_of``
        numbers the completions.
    """
    encoded_records = []
    for group, completions in groups:
        asked = [_asked(group, tokens) for tokens in completions]
        if shared_prefix:
            encoded_records.append(EncodedRecord(group.encoded_record.clips, tuple(asked)))
        else:
            encoded_records += [EncodedRecord(group.encoded_record.clips, (one,)) for one in asked]
    return collate(encoded_records, pad=pad, shared_prefix=shared_prefix)


def _asked(group: PromptGroup, tokens: Sequence[int]) -> LabelledQuestion:
    """A completion in the form of an answer that is trained whole: its last token is its only choice."""
    *lead, last = tokens
    answer = AnswerTokens(scale=(0,), lead=tuple(lead), scores=(last,), tail=())
    question = EncodedQuestion(prompt=group.prompt, answer=answer)
    return LabelledQuestion(question=question, target=np.ones(1), key=group.about)


def to_write(groups: Sequence[PromptGroup], copies: int) -> list[EncodedRecord]:
    """The groups' prompts, to be written on from, ``copies`` sequences each."""
    encoded_records = []
    for group in groups:
        # What follows is read from the whole vocabulary; the one choice is there for form.
        answer = AnswerTokens(scale=(0,), lead=(), scores=(0,), tail=())
        asked = LabelledQuestion(EncodedQuestion(group.prompt, answer), key=group.about)
        encoded_records.append(EncodedRecord(group.encoded_record.clips, (asked,) * copies))
    return encoded_records


def apart(encoded_records: Sequence[EncodedRecord]) -> list[EncodedRecord]:
    """Each question in a encoded_record of its own, with a clip of its own."""
    return [
        replace(encoded_record, questions=(one,))
        for encoded_record in encoded_records
        for one in encoded_record.questions
    ]


def too_long(record: Record, length: int, written: int, positions: int) -> Problem:
    """A prompt that the model has no room for."""
    return Problem(
        file=record.file,
        line=record.line,
        id=record.id,
        key="prompt",
        problem=f"its prompt has {length} tokens, clip included, and up to {written} are written; the model "
        "knows "
        f"{positions} positions",
        fix="shorten its texts, or lower trainer.args.max_completion_length; a prompt is never cut",
    )


class GenerationBatchSampler(torch.utils.data.Sampler[list[int]]):
    """One process's records of an epoch, those of a generation together and as often as they are passed over.

    A generation is what is drawn with the same weights. It always has the same records, however many processes
    share them; what is left over at the end of an epoch's order is left out, and another order follows.

    Args:
        order: the epoch's rows in their order, a sampler with ``set_epoch``.
        size: records of a generation and process.
        passes: over them.
        rank: of this process.
        processes: that share them.
    """

    def __init__(
        self, order: EpochOrder, size: int, passes: int, rank: int, processes: int
    ) -> None:
        self.order = order
        self.size = size
        self.passes = passes
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the order."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(self.order)
        whole = self.size * self.processes
        for start in range(0, len(rows) - whole + 1, whole):
            mine = rows[start + self.rank * self.size :][: self.size]
            for _ in range(self.passes):
                yield mine

    def __len__(self) -> int:
        return len(self.order) // (self.size * self.processes) * self.passes


def part_of(whole: Mapping[str, Any], start: int, size: int) -> dict[str, Any]:
    """Some rows of what is generated; what belongs to all stays."""
    return {
        key: value[start : start + size] if value.ndim else value for key, value in whole.items()
    }


def whole_groups(places: tuple[list[int], list[int]], size: int) -> list[tuple[int, int]]:
    """Spans of about so many completions that part no group."""
    pairs = list(zip(*places, strict=True))
    spans, start = [], 0
    for at in range(1, len(pairs) + 1):
        ends = at == len(pairs) or pairs[at] != pairs[at - 1]
        if ends and (at - start >= size or at == len(pairs)):
            spans.append((start, at))
            start = at
    return spans


def numbered(inputs: Mapping[str, Any]) -> torch.Tensor:
    """The number of each row's question in its pass, int64 ``[rows]``."""
    pairs = list(zip(inputs["row"].tolist(), inputs["epoch"].tolist(), strict=True))
    numbers = {pair: at for at, pair in enumerate(dict.fromkeys(pairs))}
    return torch.tensor([numbers[pair] for pair in pairs], device=inputs["completion_ids"].device)
