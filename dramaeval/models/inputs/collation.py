"""Collation: makes the tensors of one forward pass from encoded records.

In the shared layout, a record is one row whose common beginning is computed once (see
`dramaeval.models.forward.shared_prefix`); records that begin with the same text are one row together (see
`dramaeval.models.inputs.joined_records`). In the plain layout, every question is a row. The logits are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dramaeval.data.logmel import ClipFeatures, EncodedClip, pad_features
from dramaeval.models.inputs.answer_sequences import AnswerSequence, answer_sequences
from dramaeval.models.inputs.batch import (
    NO_SCORE,
    Batch,
    EncodedRecord,
    LabelledQuestion,
)
from dramaeval.models.inputs.joined_records import join_sequences, joined_length
from dramaeval.models.inputs.question_encoder import common_length


def collate(records: Sequence[EncodedRecord], *, pad: int, shared_prefix: bool = True) -> Batch:
    """Collate encoded records into one batch.

    Args:
        records: one or more records with one or more questions. Every part of a record has separate rows.
        pad: id of the padding token.
        shared_prefix: whether a record is one row of a prefix and branches; otherwise each question is a row.
    """
    clips = len(records)
    records = [part for record in records for part in record.parts]
    questions: list[LabelledQuestion] = []
    rows: list[list[AnswerSequence]] = []
    for record in records:
        rows.append(answer_sequences(record.questions, len(questions), trees=shared_prefix))
        questions += record.questions
    lengths = [_shared_length(row) for row in rows]
    if shared_prefix and (
        common := joined_length(rows, lengths, [r.before_clips for r in records])
    ):
        rows, lengths = [list(map(join_sequences, rows, lengths))], [common]
    sequences = [sequence for row in rows for sequence in row]
    tokens = sum(len(sequence.tokens) for sequence in sequences)
    # If no record has a second sequence or a tree, the pass is faster in the plain layout, which needs no mask.
    if shared_prefix and any(len(row) > 1 or row[0].ends for row in rows):
        inputs = _branch_inputs(rows, lengths, pad)
        copies = [1] * len(records)
        tokens -= sum((len(row) - 1) * length for row, length in zip(rows, lengths, strict=True))
    else:
        inputs = _row_inputs(sequences, pad)
        copies = [len(row) for row in rows]
    inputs |= _batch_clip_inputs(records, copies)
    score_index: dict[int, int] = {}
    terms: list[tuple[int, int, int, int]] = []
    start = 0
    for sequence in sequences:
        for question, index in sequence.score_index.items():
            score_index.setdefault(question, start + index)
        terms += [(start + index, *choice) for index, choice in sequence.terms]
        start += len(sequence.labels)
    answers = [question.question.answer for question in questions]
    width = max(len(answer.scale) for answer in answers)
    scales = [_padded(answer.scale, width, answer.scale[-1]) for answer in answers]
    return Batch(
        inputs=inputs,
        labels=torch.tensor([label for sequence in sequences for label in sequence.labels]),
        question_of=torch.tensor([n for sequence in sequences for n in sequence.question_of]),
        score_index=torch.tensor([score_index[number] for number in range(len(questions))]),
        score_tokens=torch.tensor([_padded(answer.scores, width, NO_SCORE) for answer in answers]),
        scale=torch.tensor(scales, dtype=torch.float32),
        targets=_targets(questions, width),
        tokens=tokens,
        clips=clips,
        question_keys=tuple(question.key for question in questions),
        longest_question=max(sequence.length for sequence in sequences),
        terms=torch.tensor(terms) if terms else None,
        **_pairs(questions),
    )


def layout_sizes(
    questions: Sequence[LabelledQuestion], *, shared_prefix: bool = True
) -> tuple[int, int, int]:
    """The number of sequences of a record, of tokens that they share, and of tokens of the longest sequence."""
    sequences = answer_sequences(questions, trees=shared_prefix)
    longest = max(len(sequence.tokens) for sequence in sequences)
    return len(sequences), _shared_length(sequences), longest


def _targets(questions: Sequence[LabelledQuestion], width: int) -> torch.Tensor | None:
    if any(question.target is None and question.preference is None for question in questions):
        return None
    targets = [[0.0] if question.target is None else question.target for question in questions]
    padded = [_padded([float(share) for share in target], width, 0.0) for target in targets]
    return torch.tensor(padded, dtype=torch.float32)


def _pairs(questions: Sequence[LabelledQuestion]) -> dict[str, Any]:
    """The attributes of a batch that describe preferences; empty without preferences.

    The two questions about a pair have the same key. If a pair occurs twice in a batch, its first two questions come
    before the second two.
    """
    waiting: dict[tuple[str, str], int] = {}
    pairs, targets, model = [], [], []
    for number, question in enumerate(questions):
        preference = question.preference
        if preference is None:
            continue
        other = waiting.pop(question.key, None)
        if other is None:
            waiting[question.key] = number
            continue
        pairs.append((other, number) if preference.of_second else (number, other))
        targets.append(preference.target.tolist())
        model.append((preference.slope, preference.tie_weight))
    if waiting:
        raise ValueError(f"one clip of a pair is missing: {', '.join(map(str, waiting))}")
    if not pairs:
        return {}
    return {
        "pairs": torch.tensor(pairs),
        "pair_targets": torch.tensor(targets, dtype=torch.float32),
        "pair_model": torch.tensor(model, dtype=torch.float32),
    }


def _padded(values: Sequence[Any], length: int, filler: Any) -> list[Any]:
    return [*values, *[filler] * (length - len(values))]


def _row_inputs(sequences: Sequence[AnswerSequence], pad: int) -> dict[str, Any]:
    """One row per sequence, padded on the right."""
    width = max(len(sequence.tokens) for sequence in sequences)
    index = [(row, position) for row, item in enumerate(sequences) for position in item.positions]
    return {
        "input_ids": torch.tensor([_padded(sequence.tokens, width, pad) for sequence in sequences]),
        "position_ids": torch.arange(width).expand(len(sequences), width),
        "answer_index": torch.tensor(index),
    }


def _branch_inputs(
    rows: list[list[AnswerSequence]], prefixes: Sequence[int], pad: int
) -> dict[str, Any]:
    """The common beginning of each row's sequences, ``prefixes`` tokens, then a branch for each sequence."""
    prefix_width = max(prefixes)
    width = max(
        len(sequence.tokens) - prefix
        for sequences, prefix in zip(rows, prefixes, strict=True)
        for sequence in sequences
    )
    count = max(map(len, rows))
    has_trees = any(sequence.ends for sequences in rows for sequence in sequences)
    subtree_ends = torch.full((len(rows), count, width), width) if has_trees else None
    shape = (len(rows), prefix_width + count * width)
    input_ids = torch.full(shape, pad)
    position_ids = torch.zeros(shape, dtype=torch.long)
    index = []
    for row, (sequences, prefix) in enumerate(zip(rows, prefixes, strict=True)):
        input_ids[row, :prefix] = torch.tensor(sequences[0].tokens[:prefix])
        position_ids[row, :prefix] = torch.arange(prefix)
        for branch, sequence in enumerate(sequences):
            begin = prefix_width + branch * width
            end = begin + len(sequence.tokens) - prefix
            positions = sequence.depths or range(len(sequence.tokens))
            input_ids[row, begin:end] = torch.tensor(sequence.tokens[prefix:])
            position_ids[row, begin:end] = torch.tensor(positions[prefix:])
            if subtree_ends is not None and sequence.ends:
                ends = torch.tensor(sequence.subtree_ends()[prefix:]) - prefix
                subtree_ends[row, branch, : len(ends)] = ends
            index += [(row, begin + position - prefix) for position in sequence.positions]
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "answer_index": torch.tensor(index),
        "prefix_mask": torch.arange(prefix_width)[None] < torch.tensor(prefixes)[:, None],
        "branch_count": count,
    } | ({} if subtree_ends is None else {"subtree_ends": subtree_ends})


def _shared_length(sequences: Sequence[AnswerSequence]) -> int:
    """The number of leading tokens that all sequences share before the first answer position."""
    limit = min(sequence.positions[0] for sequence in sequences)
    return common_length([sequence.tokens[:limit] for sequence in sequences])


def clip_inputs(
    clips: Sequence[ClipFeatures | EncodedClip],
) -> tuple[dict[str, Any], list[int]]:
    """The arguments of `JudgeModel.embed_clips` for some clips, and the number of each clip in its result.

    Encoded clips are numbered after the others.
    """
    features = [clip for clip in clips if isinstance(clip, ClipFeatures)]
    encoded = [clip for clip in clips if isinstance(clip, EncodedClip)]
    inputs: dict[str, Any] = {}
    if features:
        inputs["input_features"], inputs["feature_frames"] = pad_features(features)
        inputs["clip_keys"] = [clip.key for clip in features]
    if encoded:
        inputs["encoded_clips"] = [clip.values for clip in encoded]
    if any(clip.window for clip in clips):
        inputs["clip_windows"] = [clip.window for clip in features]
        inputs["clip_windows"] += [clip.window for clip in encoded]
    return inputs, clip_numbers(clips)


def clip_numbers(clips: Sequence[ClipFeatures | EncodedClip]) -> list[int]:
    """The number of each clip in the result of `JudgeModel.embed_clips`."""
    first_encoded = sum(isinstance(clip, ClipFeatures) for clip in clips)
    features, encoded = iter(range(first_encoded)), iter(range(first_encoded, len(clips)))
    return [next(encoded if isinstance(clip, EncodedClip) else features) for clip in clips]


def _batch_clip_inputs(records: Sequence[EncodedRecord], copies: Sequence[int]) -> dict[str, Any]:
    """The arguments of `JudgeModel.embed` for all clips; the prompts of a record occur ``copies`` times."""
    clips = [clip for record in records for clip in record.clips]
    if not clips:
        return {}
    inputs, numbers = clip_inputs(clips)
    order: list[int] = []
    for record, count in zip(records, copies, strict=True):
        record_numbers, numbers = numbers[: len(record.clips)], numbers[len(record.clips) :]
        order += record_numbers * count
    return inputs | {"clip_order": torch.tensor(order)}
