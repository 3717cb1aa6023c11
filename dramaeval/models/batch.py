"""Questions and clips as the tensors of one forward pass.

A *sheet* is one record's share of a batch: its clip and the questions asked about it. In the shared layout a
sheet is one row, its common beginning computed once (see `dramaeval.models.branches`); in the plain layout
every question is a row of its own. Both give the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from dramaeval.data.logmel import ClipFeatures, pad_features
from dramaeval.models.questions import EncodedQuestion

NO_SCORE = -1


@dataclass(frozen=True)
class Asked:
    """One question of a sheet, and in training what is to be answered.

    Attributes:
        question: its tokens, audio placeholders expanded.
        target: distribution over the scale ``[scores]``; None when the judge is only to be scored.
        about: the record's id and the dimension's key, for messages to people.
    """

    question: EncodedQuestion
    target: np.ndarray | None = None
    about: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Sheet:
    """One record's clips (in the order in which its prompts name them) and questions."""

    clips: tuple[ClipFeatures, ...]
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class _Row:
    """Token ids of one question, where its answers are read, and what they should be."""

    tokens: list[int]
    positions: list[int]
    labels: list[int]
    score: int  # which of `positions` holds the score


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    Attributes:
        inputs: keyword arguments of `AnsweringModel.answer`.
        labels: token id at every answer position, int64 ``[answers]``.
        question_of: the question that each answer position belongs to, int64 ``[answers]``.
        score_at: which answers are scores, int64 ``[questions]``, in the order of sheets and their questions.
        score_tokens: token ids of each question's scale, int64 ``[questions, longest scale]``, padded with
            `NO_SCORE`.
        scale: the scores that they stand for, float32 of the same shape, padded with 0.
        targets: float32 of the same shape, padded with 0; None when nothing is trained.
        tokens: real tokens that are computed, padding apart.
        clips: records in the batch.
        about: record id and dimension key of each question, in the order of ``score_at``.
        longest: tokens of the longest question, with its audio and in training its answer.
        counts: whether it trains anything; false for a stand-in (see `dramaeval.training.spread`).
    """

    inputs: dict[str, Any]
    labels: torch.Tensor
    question_of: torch.Tensor
    score_at: torch.Tensor
    score_tokens: torch.Tensor
    scale: torch.Tensor
    targets: torch.Tensor | None
    tokens: int
    clips: int
    about: tuple[tuple[str, str], ...] = ()
    longest: int = 0
    counts: bool = True

    @property
    def questions(self) -> int:
        """How many questions the batch asks."""
        return len(self.score_at)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""

        def move(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.to(device, non_blocking=non_blocking)
            return value

        moved = {one.name: move(getattr(self, one.name)) for one in fields(self)}
        moved["inputs"] = {name: move(value) for name, value in self.inputs.items()}
        return Batch(**moved)


def collate(sheets: Sequence[Sheet], *, pad: int, shared_prefix: bool = True) -> Batch:
    """Put sheets into one batch.

    Args:
        sheets: at least one, each with at least one question.
        pad: the padding token's id.
        shared_prefix: lay a sheet out as one row of prefix and branches; else one row a question.
    """
    rows = [[_row(asked) for asked in sheet.asked] for sheet in sheets]
    inputs = _branched(rows, pad) if shared_prefix else _plain(rows, pad)
    _add_clips(inputs, sheets, rows_a_sheet=None if shared_prefix else [len(row) for row in rows])
    flat = [row for sheet_rows in rows for row in sheet_rows]
    starts = np.cumsum([0] + [len(row.labels) for row in flat[:-1]])
    asked = [one for sheet in sheets for one in sheet.asked]
    longest = max(len(one.question.answer.scores) for one in asked)
    return Batch(
        inputs=inputs,
        labels=torch.tensor([label for row in flat for label in row.labels]),
        question_of=torch.tensor([at for at, row in enumerate(flat) for _ in row.labels]),
        score_at=torch.tensor(
            [int(start) + row.score for start, row in zip(starts, flat, strict=True)]
        ),
        score_tokens=torch.tensor(
            [_padded(list(one.question.answer.scores), longest, NO_SCORE) for one in asked]
        ),
        scale=torch.tensor(
            [_padded([float(k) for k in one.question.answer.scale], longest, 0.0) for one in asked]
        ),
        targets=_targets(asked, longest),
        tokens=_computed(rows, shared_prefix),
        clips=len(sheets),
        about=tuple(one.about for one in asked),
        longest=max(len(row.tokens) for row in flat),
    )


def _row(asked: Asked) -> _Row:
    """Lay out one question: the whole answer when it is trained, its beginning when it is scored."""
    answer = asked.question.answer
    prompt = list(asked.question.prompt)
    if asked.target is None:
        tokens = [*prompt, *answer.lead]
        return _Row(tokens, [len(tokens) - 1], [NO_SCORE], 0)
    # The end of the answer follows the likeliest score; the score's own target stays the distribution.
    written = answer.scores[int(np.argmax(asked.target))]
    reply = [*answer.lead, written, *answer.tail]
    tokens = [*prompt, *reply]
    positions = list(range(len(prompt) - 1, len(tokens) - 1))
    # The last token of the reply is never an input: nothing is read after it.
    return _Row(tokens[:-1], positions, reply, len(answer.lead))


def _targets(asked: Sequence[Asked], longest: int) -> torch.Tensor | None:
    if any(one.target is None for one in asked):
        return None
    padded = [_padded([float(p) for p in one.target], longest, 0.0) for one in asked]  # type: ignore[union-attr]
    return torch.tensor(padded, dtype=torch.float32)


def _padded(values: list[Any], length: int, filler: Any) -> list[Any]:
    return values + [filler] * (length - len(values))


def _plain(rows: list[list[_Row]], pad: int) -> dict[str, Any]:
    """One row a question, padded on the right."""
    flat = [row for sheet_rows in rows for row in sheet_rows]
    width = max(len(row.tokens) for row in flat)
    index = [(at, position) for at, row in enumerate(flat) for position in row.positions]
    return {
        "input_ids": torch.tensor([_padded(row.tokens, width, pad) for row in flat]),
        "position_ids": torch.arange(width).expand(len(flat), width),
        "answer_index": torch.tensor(index),
    }


def _branched(rows: list[list[_Row]], pad: int) -> dict[str, Any]:
    """One row a sheet: its questions' common beginning, then a branch for each."""
    prefixes = [shared_length(sheet_rows) for sheet_rows in rows]
    prefix_width = max(prefixes)
    width = max(
        len(row.tokens) - prefix
        for sheet_rows, prefix in zip(rows, prefixes, strict=True)
        for row in sheet_rows
    )
    count = max(len(sheet_rows) for sheet_rows in rows)
    shape = (len(rows), prefix_width + count * width)
    input_ids = torch.full(shape, pad)
    position_ids = torch.zeros(shape, dtype=torch.long)
    index = []
    for at, (sheet_rows, prefix) in enumerate(zip(rows, prefixes, strict=True)):
        input_ids[at, :prefix] = torch.tensor(sheet_rows[0].tokens[:prefix])
        position_ids[at, :prefix] = torch.arange(prefix)
        for branch, row in enumerate(sheet_rows):
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
    every = sum(len(row.tokens) for sheet_rows in rows for row in sheet_rows)
    if not shared_prefix:
        return every
    return every - sum((len(sheet) - 1) * shared_length(sheet) for sheet in rows)


def shared_length(rows: Sequence[_Row]) -> int:
    """How many leading tokens a sheet's questions share, short of any position that is read.

    Taken from the tokens themselves, so it is right for every layout of the prompt.
    """
    limit = min(row.positions[0] for row in rows)
    first = rows[0].tokens
    for at in range(limit):
        if any(row.tokens[at] != first[at] for row in rows):
            return at
    return limit


def _add_clips(
    inputs: dict[str, Any], sheets: Sequence[Sheet], rows_a_sheet: list[int] | None
) -> None:
    """Add every clip once, and the order in which the rows' audio tokens ask for them."""
    clips = [clip for sheet in sheets for clip in sheet.clips]
    if not clips:
        return
    order: list[int] = []
    first = 0
    for at, sheet in enumerate(sheets):
        own = list(range(first, first + len(sheet.clips)))
        order += own * (1 if rows_a_sheet is None else rows_a_sheet[at])
        first += len(sheet.clips)
    inputs["input_features"], inputs["feature_frames"] = pad_features(clips)
    inputs["clip_order"] = torch.tensor(order)
