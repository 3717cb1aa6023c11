"""Questions and clips as the tensors of one forward pass.

A *encoded_record* is one record's share of a batch: its clip and the questions asked about it. In the shared layout a
encoded_record is one row, its common beginning computed once (see `dramaeval.models.forward.shared_prefix`); in the plain layout
every question is a row of its own. Both give the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from dramaeval.data.logmel import ClipFeatures, EncodedClip, pad_features
from dramaeval.models.inputs.question_encoder import EncodedQuestion

NO_SCORE = -1
#: The label of a token that is computed and not trained, PyTorch's own.
UNTRAINED = -100
#: What a pass is told of the clips, where there are any.
CLIP_INPUTS = ("input_features", "feature_frames", "clip_order", "clip_keys", "encoded_clips")


@dataclass(frozen=True)
class LabelledQuestion:
    """One question of a encoded_record, a place where the judge chooses; in training with what it is to choose.

    Attributes:
        question: its tokens, audio placeholders expanded.
        target: distribution over the choices ``[choices]``; None when the judge is only to be scored.
        key: the record's id and the dimension's key, for messages to people.
        written_choice: the choice that is written there; None writes the target's likeliest, in training. In
            scoring it only matters where the answer goes on, and None writes the middle of the scale.
        continues_answer: whether it is answered in the same answer as the question before it, after that one's choice.
    """

    question: EncodedQuestion
    target: np.ndarray | None = None
    key: tuple[str, str] = ("", "")
    written_choice: int | None = None
    continues_answer: bool = False

    @property
    def choice(self) -> int:
        """The choice that is written."""
        if self.written_choice is not None:
            return self.written_choice
        if self.target is not None:
            return int(np.argmax(self.target))
        return (len(self.question.answer.choice_tokens) - 1) // 2


@dataclass(frozen=True)
class EncodedRecord:
    """One record's clips (in the order in which its prompts name them) and questions."""

    clips: tuple[ClipFeatures | EncodedClip, ...]
    questions: tuple[LabelledQuestion, ...]


@dataclass
class _Row:
    """Token ids of one sequence, where its answers are read, and what they should be.

    ``asked`` has the number of the question that each answer belongs to. ``begins`` has, for each question,
    the first answer at which a choice of it is read. ``terms`` are ``(answer, token, question, choice)``: the
    log-probabilities that make up choices of several tokens.
    """

    tokens: list[int]
    positions: list[int]
    labels: list[int]
    asked: list[int]
    begins: dict[int, int]
    terms: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    Attributes:
        inputs: keyword arguments of `AnsweringModel.answer`.
        labels: token id at every answer position, int64 ``[answers]``.
        question_of: the question that each answer position belongs to, int64 ``[answers]``.
        score_index: which answers are scores, int64 ``[questions]``, in the order of encoded_records and their questions;
            of choices of several tokens the first.
        score_tokens: token ids of each question's scale, int64 ``[questions, longest scale]``, padded with
            `NO_SCORE`; nothing else where choices have several tokens.
        scale: the scores that they stand for, float32 of the same shape, padded with 0.
        targets: float32 of the same shape, padded with 0; None when nothing is trained.
        tokens: real tokens that are computed, padding apart.
        clips: records in the batch.
        question_keys: record id and dimension key of each question, in the order of ``score_index``.
        longest_question: tokens of the longest question, with its audio and in training its answer.
        is_stand_in: whether it trains nothing (see `dramaeval.training.step_batches`).
        terms: the tokens of choices that have several, int64 ``[terms, 4]`` of answer, token id, question and
            choice, to be read by `dramaeval.models.forward.answer_distributions`; None where all choices are single tokens.
    """

    inputs: dict[str, Any]
    labels: torch.Tensor
    question_of: torch.Tensor
    score_index: torch.Tensor
    score_tokens: torch.Tensor
    scale: torch.Tensor
    targets: torch.Tensor | None
    tokens: int
    clips: int
    question_keys: tuple[tuple[str, str], ...] = ()
    longest_question: int = 0
    is_stand_in: bool = False
    terms: torch.Tensor | None = None

    @property
    def questions(self) -> int:
        """How many questions the batch asks."""
        return len(self.score_index)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""

        def move(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.to(device, non_blocking=non_blocking)
            if isinstance(value, list):
                return [move(one) for one in value]
            return value

        moved = {one.name: move(getattr(self, one.name)) for one in fields(self)}
        moved["inputs"] = {name: move(value) for name, value in self.inputs.items()}
        return Batch(**moved)


def collate(
    encoded_records: Sequence[EncodedRecord], *, pad: int, shared_prefix: bool = True
) -> Batch:
    """Put encoded_records into one batch.

    Args:
        encoded_records: at least one, each with at least one question.
        pad: the padding token's id.
        shared_prefix: lay a encoded_record out as one row of prefix and branches; else one row a question.
    """
    rows, first = [], 0
    for encoded_record in encoded_records:
        rows.append(_rows(encoded_record.questions, first))
        first += len(encoded_record.questions)
    # A single row has nobody to share its beginning with, and is quicker without a mask.
    shared_prefix = shared_prefix and any(len(record_rows) > 1 for record_rows in rows)
    inputs = _branched(rows, pad) if shared_prefix else _plain(rows, pad)
    _add_clips(
        inputs,
        encoded_records,
        rows_per_record=None if shared_prefix else [len(row) for row in rows],
    )
    flat = [row for record_rows in rows for row in record_rows]
    starts = np.cumsum([0] + [len(row.labels) for row in flat[:-1]]).tolist()
    asked = [one for encoded_record in encoded_records for one in encoded_record.questions]
    longest = max(len(one.question.answer.scale) for one in asked)
    begins: dict[int, int] = {}
    terms: list[tuple[int, int, int, int]] = []
    for start, row in zip(starts, flat, strict=True):
        for question, at in row.begins.items():
            begins.setdefault(question, start + at)
        terms += [(start + at, *rest) for at, *rest in row.terms]
    return Batch(
        inputs=inputs,
        labels=torch.tensor([label for row in flat for label in row.labels]),
        question_of=torch.tensor([question for row in flat for question in row.asked]),
        score_index=torch.tensor([begins[question] for question in range(len(asked))]),
        score_tokens=torch.tensor(
            [_padded(list(one.question.answer.scores), longest, NO_SCORE) for one in asked]
        ),
        scale=torch.tensor(
            [_padded([float(k) for k in one.question.answer.scale], longest, 0.0) for one in asked]
        ),
        targets=_targets(asked, longest),
        tokens=_computed(rows, shared_prefix),
        clips=len(encoded_records),
        question_keys=tuple(one.key for one in asked),
        longest_question=max(len(row.tokens) for row in flat),
        terms=torch.tensor(terms) if terms else None,
    )


def layout_sizes(asked: Sequence[LabelledQuestion]) -> tuple[int, int, int]:
    """How a encoded_record's questions are laid out: its rows, the tokens that they share, those of the longest."""
    rows = _rows(asked, 0)
    return len(rows), shared_length(rows), max(len(row.tokens) for row in rows)


def _rows(asked: Sequence[LabelledQuestion], first: int) -> list[_Row]:
    """A encoded_record's questions as sequences; ``first`` is the number of the first of them in the batch."""
    rows: list[_Row] = []
    at = 0
    while at < len(asked):
        end = at + 1
        while end < len(asked) and asked[end].continues_answer:
            end += 1
        if asked[at].question.answer.options:
            rows += _option_rows(asked[at], first + at)
        else:
            rows.append(_score_row(asked[at:end], first + at))
        at = end
    return rows


def _score_row(asked: Sequence[LabelledQuestion], number: int) -> _Row:
    """Lay out one answer: the whole of it when it is trained, up to its last score when it is scored."""
    tokens = list(asked[0].question.prompt)
    row = _Row([], [], [], [], {})
    for at, one in enumerate(asked):
        answer = one.question.answer
        written = answer.scores[one.choice]
        if one.target is None:
            tokens += answer.lead
            reply, label = [written], NO_SCORE
            row.begins[number + at] = len(row.positions)
            row.labels.append(label)
        else:
            reply = [*answer.lead, written, *answer.tail]
            row.begins[number + at] = len(row.positions) + len(answer.lead)
            row.labels += reply
        row.positions += range(len(tokens) - 1, len(tokens) - 1 + len(reply))
        row.asked += [number + at] * len(reply)
        tokens += reply
    # The last token of the reply is never an input: nothing is read after it.
    row.tokens = tokens[:-1]
    return row


def _option_rows(asked: LabelledQuestion, number: int) -> list[_Row]:
    """Lay out each option as a sequence of its own: all are read, the written one alone is trained."""
    answer, rows = asked.question.answer, []
    for choice, option in enumerate(answer.options):
        tokens = [*asked.question.prompt, *answer.lead, *option]
        trained = asked.target is not None and choice == asked.choice
        lead = len(answer.lead) if trained else 0
        begin = len(tokens) - len(option)
        unlabelled = UNTRAINED if asked.target is not None else NO_SCORE
        rows.append(
            _Row(
                tokens=tokens[:-1],
                positions=list(range(begin - lead - 1, len(tokens) - 1)),
                labels=tokens[begin - lead :] if trained else [unlabelled] * len(option),
                asked=[number] * (lead + len(option)),
                begins={number: lead},
                terms=[(lead + at, token, number, choice) for at, token in enumerate(option)],
            )
        )
    return rows


def _targets(asked: Sequence[LabelledQuestion], longest: int) -> torch.Tensor | None:
    targets = [one.target for one in asked if one.target is not None]
    if len(targets) < len(asked):
        return None
    padded = [_padded([float(p) for p in one], longest, 0.0) for one in targets]
    return torch.tensor(padded, dtype=torch.float32)


def _padded(values: list[Any], length: int, filler: Any) -> list[Any]:
    return values + [filler] * (length - len(values))


def _plain(rows: list[list[_Row]], pad: int) -> dict[str, Any]:
    """One row a question, padded on the right."""
    flat = [row for record_rows in rows for row in record_rows]
    width = max(len(row.tokens) for row in flat)
    index = [(at, position) for at, row in enumerate(flat) for position in row.positions]
    return {
        "input_ids": torch.tensor([_padded(row.tokens, width, pad) for row in flat]),
        "position_ids": torch.arange(width).expand(len(flat), width),
        "answer_index": torch.tensor(index),
    }


def _branched(rows: list[list[_Row]], pad: int) -> dict[str, Any]:
    """One row a encoded_record: its questions' common beginning, then a branch for each."""
    prefixes = [shared_length(record_rows) for record_rows in rows]
    prefix_width = max(prefixes)
    width = max(
        len(row.tokens) - prefix
        for record_rows, prefix in zip(rows, prefixes, strict=True)
        for row in record_rows
    )
    count = max(len(record_rows) for record_rows in rows)
    shape = (len(rows), prefix_width + count * width)
    input_ids = torch.full(shape, pad)
    position_ids = torch.zeros(shape, dtype=torch.long)
    index = []
    for at, (record_rows, prefix) in enumerate(zip(rows, prefixes, strict=True)):
        input_ids[at, :prefix] = torch.tensor(record_rows[0].tokens[:prefix])
        position_ids[at, :prefix] = torch.arange(prefix)
        for branch, row in enumerate(record_rows):
            begin = prefix_width + branch * width
            own = torch.tensor(row.tokens[prefix:])
            input_ids[at, begin : begin + len(own)] = own
            position_ids[at, begin : begin + len(own)] = torch.arange(prefix, len(row.tokens))
            index += [(at, begin + position - prefix) for position in row.positions]
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "answer_index": torch.tensor(index),
        "prefix_mask": torch.arange(prefix_width)[None] < torch.tensor(prefixes)[:, None],
        "branch_count": count,
    }


def _computed(rows: list[list[_Row]], shared_prefix: bool) -> int:
    """Tokens that pass through the model: a shared beginning counts once."""
    every = sum(len(row.tokens) for record_rows in rows for row in record_rows)
    if not shared_prefix:
        return every
    return every - sum(
        (len(encoded_record) - 1) * shared_length(encoded_record) for encoded_record in rows
    )


def shared_length(rows: Sequence[_Row]) -> int:
    """How many leading tokens a encoded_record's questions share, short of any position that is read.

    Taken from the tokens themselves, so it is right for every layout of the prompt.
    """
    limit = min(row.positions[0] for row in rows)
    first = rows[0].tokens
    for at in range(limit):
        if any(row.tokens[at] != first[at] for row in rows):
            return at
    return limit


def clip_inputs(clips: Sequence[ClipFeatures | EncodedClip]) -> tuple[dict[str, Any], list[int]]:
    """What a judge is told of clips (see `AnsweringModel.embed_clips`), and the number that it gives each."""
    heard = [clip for clip in clips if isinstance(clip, ClipFeatures)]
    encoded = [clip for clip in clips if isinstance(clip, EncodedClip)]
    inputs: dict[str, Any] = {}
    if heard:
        inputs["input_features"], inputs["feature_frames"] = pad_features(heard)
        inputs["clip_keys"] = [clip.key for clip in heard]
    if encoded:
        inputs["encoded_clips"] = [clip.values for clip in encoded]
    return inputs, clip_numbers(clips)


def clip_numbers(clips: Sequence[ClipFeatures | EncodedClip]) -> list[int]:
    """The number that a judge gives each clip: those that are encoded already come after the others."""
    first_encoded = sum(isinstance(clip, ClipFeatures) for clip in clips)
    after, before = iter(range(first_encoded, len(clips))), iter(range(first_encoded))
    return [next(after if isinstance(clip, EncodedClip) else before) for clip in clips]


def _add_clips(
    inputs: dict[str, Any],
    encoded_records: Sequence[EncodedRecord],
    rows_per_record: list[int] | None,
) -> None:
    """Add every clip once, and the order in which the rows' audio tokens ask for them."""
    clips = [clip for encoded_record in encoded_records for clip in encoded_record.clips]
    if not clips:
        return
    own_inputs, numbers = clip_inputs(clips)
    inputs |= own_inputs
    order: list[int] = []
    first = 0
    for at, encoded_record in enumerate(encoded_records):
        own = numbers[first : first + len(encoded_record.clips)]
        order += own * (1 if rows_per_record is None else rows_per_record[at])
        first += len(encoded_record.clips)
    inputs["clip_order"] = torch.tensor(order)
