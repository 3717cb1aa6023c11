"""Shuffled audio: the same judge and the same texts, each with another record's clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dramaeval.data.inline_audio import INLINE
from dramaeval.data.records import Record
from dramaeval.data.shared_content import sample_group
from dramaeval.evaluation.controls.control_context import (
    ControlContext,
    NotPossibleError,
    require_audio_judge,
)
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "the same judge with another record's clip"
REMOVES_SOUND = True


def shuffled_audio(context: ControlContext) -> list[Prediction]:
    """Score every record with the clip of another record, chosen with the seed.

    Raises:
        NotPossibleError: all records share one clip; and see `require_audio_judge`.
    """
    require_audio_judge(context)
    return context.score(exchanged(context.records, context.seed), context.record_encoder)


def exchanged(records: Sequence[Record], seed: int) -> list[Record]:
    """Exchange the clips of the records along a random cycle through all records.

    Each record gets the clip of the next record on the cycle that has a different clip. If all clips differ, every
    clip is used once.

    Raises:
        NotPossibleError: there are not two different clips.
    """
    sounds = [sample_group(record) or str(record.clip) for record in records]
    if len(set(sounds)) < 2:
        raise NotPossibleError("there are not two different clips to exchange")
    cycle = np.random.default_rng([seed, 2]).permutation(len(records)).tolist()
    shuffled = list(records)
    for position, index in enumerate(cycle):
        step = 1
        while sounds[cycle[(position + step) % len(cycle)]] == sounds[index]:
            step += 1
        other = records[cycle[(position + step) % len(cycle)]]
        fields = records[index].fields
        if other.clip == INLINE:
            fields = {**fields, "audio": other.fields["audio"]}
        shuffled[index] = replace(
            records[index], clip=other.clip, seconds=other.seconds, fields=fields
        )
    return shuffled
