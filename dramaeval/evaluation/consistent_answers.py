"""Scores answers with several scores: each score follows the judge's likeliest scores before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dramaeval.models.inputs.collation import EncodedRecord

AnswerValues = list[np.ndarray]
"""For each question of a record, a distribution over its choices or the value of a regression head."""


def consistent_values(
    encoded_records: Sequence[EncodedRecord],
    read: Callable[[Sequence[EncodedRecord]], list[AnswerValues]],
    *,
    passes_required: int = 0,
) -> list[AnswerValues]:
    """Run forward passes until every score in the prompt is the likeliest one at its position.

    The result is that of greedy decoding: a score depends only on the scores before it, so that the first score is
    right after the first pass, the second after the second, and so on. Records without such answers need one pass.

    Args:
        encoded_records: the records with their questions.
        read: one forward pass.
        passes_required: minimum number of passes, for processes that have to run the same number.

    Returns:
        the values of the last pass; the scores in the prompt are the likeliest ones of these values.
    """
    current = list(encoded_records)
    values = read(current)
    # After one pass more than there are scores, only ties would still change, by rounding.
    for number in range(1, max(passes_required, 1 + longest_answer(current))):
        rewritten = [_rewritten(*pair) for pair in zip(current, values, strict=True)]
        changed = [
            index
            for index, (old, new) in enumerate(zip(current, rewritten, strict=True))
            if new is not old
        ]
        if not changed and number >= passes_required:
            break
        # A pass without a change only keeps the number of passes equal to that of the other processes.
        indices = changed or [0]
        for index, new_values in zip(indices, read([rewritten[i] for i in indices]), strict=True):
            values[index] = new_values
        current = rewritten
    return values


def longest_answer(encoded_records: Sequence[EncodedRecord]) -> int:
    """The largest number of scores in one answer."""
    longest = length = 0
    for encoded_record in encoded_records:
        for question in encoded_record.questions:
            length = length + 1 if question.continues_answer else 1
            longest = max(longest, length)
    return longest


def _rewritten(encoded_record: EncodedRecord, values: AnswerValues) -> EncodedRecord:
    """The record with the likeliest scores in its prompt; the same object if nothing changes."""
    questions = list(encoded_record.questions)
    changed = False
    for index, question in enumerate(questions[:-1]):
        if not questions[index + 1].continues_answer:
            continue  # no score of the same answer depends on this score
        likeliest = int(np.argmax(values[index]))
        if likeliest != question.choice:
            questions[index] = replace(question, written_choice=likeliest)
            changed = True
    return replace(encoded_record, questions=tuple(questions)) if changed else encoded_record
