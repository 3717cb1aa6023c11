"""Collation: encoded records become the tensors of one forward pass.

In the shared layout a record is one row whose common beginning is computed once (see
`dramaeval.models.forward.shared_prefix`); in the plain layout every question is a row. The logits are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from dramaeval.data.logmel import ClipFeatures, EncodedClip, pad_features
from dramaeval.models.inputs.batch import (
    NO_SCORE,
    UNTRAINED,
    Batch,
    EncodedRecord,
    LabelledQuestion,
)
from dramaeval.models.inputs.question_encoder import common_length

#: The arguments of `JudgeModel.embed` that describe clips.
CLIP_INPUTS = ("input_features", "feature_frames", "clip_order", "clip_keys", "encoded_clips")


@dataclass
class _Sequence:
    """The tokens of one answer and its prompt, and the positions at which the answer is predicted.

    Attributes:
        tokens: token ids.
        positions: the answer positions in ``tokens``.
        labels: the token to predict at each.
        question_of: the question that each belongs to.
        score_index: for each question the index into ``positions`` at which its choice is predicted.
        terms: ``(index into positions, (token, question, choice))`` of choices of several tokens.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    question_of: list[int] = field(default_factory=list)
    score_index: dict[int, int] = field(default_factory=dict)
    terms: list[tuple[int, tuple[int, int, int]]] = field(default_factory=list)


def collate(records: Sequence[EncodedRecord], *, pad: int, shared_prefix: bool = True) -> Batch:
    """Collate encoded records into one batch.

    Args:
        records: at least one, each with at least one question.
        pad: the padding token's id.
        shared_prefix: whether a record is one row of a prefix and branches; else each question is a row.
    """
    questions: list[LabelledQuestion] = []
    rows: list[list[_Sequence]] = []
    for record in records:
        rows.append(_sequences(record.questions, len(questions)))
        questions += record.questions
    # Without a second sequence there is nothing to share, and the pass is faster without a mask.
    shared_prefix = shared_prefix and any(len(sequences) > 1 for sequences in rows)
    inputs = _branch_inputs(rows, pad) if shared_prefix else _row_inputs(rows, pad)
    copies = [1 if shared_prefix else len(sequences) for sequences in rows]
    inputs |= _batch_clip_inputs(records, copies)
    sequences = [sequence for record_sequences in rows for sequence in record_sequences]
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
    scales = [_padded(answer.scale, width, 0) for answer in answers]
    return Batch(
        inputs=inputs,
        labels=torch.tensor([label for sequence in sequences for label in sequence.labels]),
        question_of=torch.tensor([n for sequence in sequences for n in sequence.question_of]),
        score_index=torch.tensor([score_index[number] for number in range(len(questions))]),
        score_tokens=torch.tensor([_padded(answer.scores, width, NO_SCORE) for answer in answers]),
        scale=torch.tensor(scales, dtype=torch.float32),
        targets=_targets(questions, width),
        tokens=_computed_tokens(rows, shared_prefix),
        clips=len(records),
        question_keys=tuple(question.key for question in questions),
        longest_question=max(len(sequence.tokens) for sequence in sequences),
        terms=torch.tensor(terms) if terms else None,
    )


def layout_sizes(questions: Sequence[LabelledQuestion]) -> tuple[int, int, int]:
    """Number of sequences of a record, tokens that they share, and tokens of the longest."""
    sequences = _sequences(questions, 0)
    longest = max(len(sequence.tokens) for sequence in sequences)
    return len(sequences), _shared_length(sequences), longest


def _sequences(questions: Sequence[LabelledQuestion], first: int) -> list[_Sequence]:
    """The sequences of a record's questions, which are numbered from ``first``."""
    sequences: list[_Sequence] = []
    start = 0
    while start < len(questions):
        end = start + 1
        while end < len(questions) and questions[end].continues_answer:
            end += 1
        if questions[start].question.answer.options:
            sequences += _option_sequences(questions[start], first + start)
        else:
            sequences.append(_score_sequence(questions[start:end], first + start))
        start = end
    return sequences


def _score_sequence(questions: Sequence[LabelledQuestion], first: int) -> _Sequence:
    """One answer: in training all of its tokens are predicted, in scoring only the scores."""
    tokens = list(questions[0].question.prompt)
    sequence = _Sequence()
    for number, question in enumerate(questions, first):
        answer = question.question.answer
        score = answer.scores[question.choice]
        if question.target is None:
            tokens += answer.lead
            reply, labels, lead = [score], [NO_SCORE], 0
        else:
            reply = labels = [*answer.lead, score, *answer.tail]
            lead = len(answer.lead)
        sequence.score_index[number] = len(sequence.positions) + lead
        sequence.labels += labels
        sequence.positions += range(len(tokens) - 1, len(tokens) - 1 + len(reply))
        sequence.question_of += [number] * len(reply)
        tokens += reply
    # Nothing is predicted after the last token of the answer.
    sequence.tokens = tokens[:-1]
    return sequence


def _option_sequences(question: LabelledQuestion, number: int) -> list[_Sequence]:
    """One sequence per option: the tokens of all are predicted, those of the written one trained."""
    answer, sequences = question.question.answer, []
    for choice, option in enumerate(answer.options):
        tokens = [*question.question.prompt, *answer.lead, *option]
        trained = question.target is not None and choice == question.choice
        lead = len(answer.lead) if trained else 0
        begin = len(tokens) - len(option)
        unlabelled = UNTRAINED if question.target is not None else NO_SCORE
        sequences.append(
            _Sequence(
                tokens=tokens[:-1],
                positions=list(range(begin - lead - 1, len(tokens) - 1)),
                labels=tokens[begin - lead :] if trained else [unlabelled] * len(option),
                question_of=[number] * (lead + len(option)),
                score_index={number: lead},
                terms=[
                    (index, (token, number, choice)) for index, token in enumerate(option, lead)
                ],
            )
        )
    return sequences


def _targets(questions: Sequence[LabelledQuestion], width: int) -> torch.Tensor | None:
    targets = [question.target for question in questions if question.target is not None]
    if len(targets) < len(questions):
        return None
    padded = [_padded([float(share) for share in target], width, 0.0) for target in targets]
    return torch.tensor(padded, dtype=torch.float32)


def _padded(values: Sequence[Any], length: int, filler: Any) -> list[Any]:
    return [*values, *[filler] * (length - len(values))]


def _row_inputs(rows: list[list[_Sequence]], pad: int) -> dict[str, Any]:
    """One row per sequence, padded on the right."""
    sequences = [sequence for record_sequences in rows for sequence in record_sequences]
    width = max(len(sequence.tokens) for sequence in sequences)
    index = [(row, position) for row, item in enumerate(sequences) for position in item.positions]
    return {
        "input_ids": torch.tensor([_padded(sequence.tokens, width, pad) for sequence in sequences]),
        "position_ids": torch.arange(width).expand(len(sequences), width),
        "answer_index": torch.tensor(index),
    }


def _branch_inputs(rows: list[list[_Sequence]], pad: int) -> dict[str, Any]:
    """One row per record: the common beginning of its sequences, then a branch for each."""
    prefixes = [_shared_length(sequences) for sequences in rows]
    prefix_width = max(prefixes)
    width = max(
        len(sequence.tokens) - prefix
        for sequences, prefix in zip(rows, prefixes, strict=True)
        for sequence in sequences
    )
    count = max(map(len, rows))
    shape = (len(rows), prefix_width + count * width)
    input_ids = torch.full(shape, pad)
    position_ids = torch.zeros(shape, dtype=torch.long)
    index = []
    for row, (sequences, prefix) in enumerate(zip(rows, prefixes, strict=True)):
        input_ids[row, :prefix] = torch.tensor(sequences[0].tokens[:prefix])
        position_ids[row, :prefix] = torch.arange(prefix)
        for branch, sequence in enumerate(sequences):
            begin = prefix_width + branch * width
            tokens = torch.tensor(sequence.tokens[prefix:])
            input_ids[row, begin : begin + len(tokens)] = tokens
            positions = torch.arange(prefix, len(sequence.tokens))
            position_ids[row, begin : begin + len(tokens)] = positions
            index += [(row, begin + position - prefix) for position in sequence.positions]
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "answer_index": torch.tensor(index),
        "prefix_mask": torch.arange(prefix_width)[None] < torch.tensor(prefixes)[:, None],
        "branch_count": count,
    }


def _computed_tokens(rows: list[list[_Sequence]], shared_prefix: bool) -> int:
    """Tokens that the language model computes; a shared beginning counts once."""
    count = sum(len(sequence.tokens) for sequences in rows for sequence in sequences)
    if not shared_prefix:
        return count
    return count - sum((len(sequences) - 1) * _shared_length(sequences) for sequences in rows)


def _shared_length(sequences: Sequence[_Sequence]) -> int:
    """Number of leading tokens that all sequences share before the first answer position.

    It is read from the tokens and therefore holds for every layout of the prompt.
    """
    limit = min(sequence.positions[0] for sequence in sequences)
    return common_length([sequence.tokens[:limit] for sequence in sequences])


def clip_inputs(
    clips: Sequence[ClipFeatures | EncodedClip],
) -> tuple[dict[str, Any], list[int]]:
    """The arguments of `JudgeModel.embed_clips` for some clips, and the number that it gives to each.

    Clips that are encoded already are numbered after the others.
    """
    features = [clip for clip in clips if isinstance(clip, ClipFeatures)]
    encoded = [clip for clip in clips if isinstance(clip, EncodedClip)]
    inputs: dict[str, Any] = {}
    if features:
        inputs["input_features"], inputs["feature_frames"] = pad_features(features)
        inputs["clip_keys"] = [clip.key for clip in features]
    if encoded:
        inputs["encoded_clips"] = [clip.values for clip in encoded]
    return inputs, clip_numbers(clips)


def clip_numbers(clips: Sequence[ClipFeatures | EncodedClip]) -> list[int]:
    """The number that `JudgeModel.embed_clips` gives to each clip."""
    first_encoded = sum(isinstance(clip, ClipFeatures) for clip in clips)
    features, encoded = iter(range(first_encoded)), iter(range(first_encoded, len(clips)))
    return [next(encoded if isinstance(clip, EncodedClip) else features) for clip in clips]


def _batch_clip_inputs(records: Sequence[EncodedRecord], copies: Sequence[int]) -> dict[str, Any]:
    """Every clip once, and the clip of each run of audio tokens: the clips of a record occur ``copies`` times."""
    clips = [clip for record in records for clip in record.clips]
    if not clips:
        return {}
    inputs, numbers = clip_inputs(clips)
    order: list[int] = []
    for record, count in zip(records, copies, strict=True):
        record_numbers, numbers = numbers[: len(record.clips)], numbers[len(record.clips) :]
        order += record_numbers * count
    return inputs | {"clip_order": torch.tensor(order)}
