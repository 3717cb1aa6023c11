"""Answers of several scores: what is written before a score is what the judge itself would write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dramaeval.models.inputs.collation import EncodedRecord

Reading = list[np.ndarray]
"""What is read of a encoded_record: for each of its questions a value, or a distribution over its choices."""


def settled(
    encoded_records: Sequence[EncodedRecord],
    read: Callable[[Sequence[EncodedRecord]], list[Reading]],
    *,
    always: int = 0,
) -> list[Reading]:
    """Read encoded_records until every score that is written is the likeliest of what is read at its place.

    The fixed point is greedy decoding: a score depends on those before it alone, so that the first place is
    right after the first pass, the second after the second, and so on. Sheets without such answers are read
    once.

    Args:
        encoded_records: what is asked.
        read: one forward pass.
        always: passes that are made in any case, where processes have to move in step.

    Returns:
        the readings of the last pass, in which what was read is what was written.
    """
    now = list(encoded_records)
    readings = read(now)
    # One more than there are scores: further passes could only follow the rounding of ties.
    for number in range(1, max(always, 1 + longest_answer(now))):
        after = [
            _rewritten(encoded_record, values)
            for encoded_record, values in zip(now, readings, strict=True)
        ]
        changed = [
            at for at, (old, new) in enumerate(zip(now, after, strict=True)) if new is not old
        ]
        if not changed and number >= always:
            break
        # Where nothing changes any more, the pass keeps step with the other processes.
        again = changed or [0]
        for at, values in zip(again, read([after[at] for at in again]), strict=True):
            readings[at] = values
        now = after
    return readings


def longest_answer(encoded_records: Sequence[EncodedRecord]) -> int:
    """The most scores that an answer of these encoded_records has."""
    longest = run = 0
    for encoded_record in encoded_records:
        for one in encoded_record.questions:
            run = run + 1 if one.continues_answer else 1
            longest = max(longest, run)
    return longest


def _rewritten(encoded_record: EncodedRecord, values: Reading) -> EncodedRecord:
    """The encoded_record with the likeliest scores written; itself where they are written already."""
    asked = list(encoded_record.questions)
    for at, one in enumerate(asked[:-1]):
        if not asked[at + 1].continues_answer:
            continue  # nothing follows this score
        likeliest = int(np.argmax(values[at]))
        if likeliest != one.choice:
            asked[at] = replace(one, written_choice=likeliest)
    changed = any(new is not old for new, old in zip(asked, encoded_record.questions, strict=True))
    return replace(encoded_record, questions=tuple(asked)) if changed else encoded_record
