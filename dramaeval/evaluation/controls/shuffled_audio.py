"""Shuffled audio: the same judge and the same texts, each with another record's clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dramaeval.data.records import Record
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
        NotPossibleError: see `require_audio_judge`; or all records share one clip.
    """
    require_audio_judge(context)
    return context.score(exchanged(context.records, context.seed), context.record_encoder)


def exchanged(records: Sequence[Record], seed: int) -> list[Record]:
    """The records with their clips exchanged along a random cycle through all of them.

    Every clip is used as often as before, so that the set of clips stays the same. Where the next record on the
    cycle has the same clip, the first one after it with a different clip provides the clip.

    Raises:
        NotPossibleError: there are not two different clips.
    """
    if len({record.clip for record in records}) < 2:
        raise NotPossibleError("there are not two different clips to exchange")
    cycle = np.random.default_rng([seed, 2]).permutation(len(records)).tolist()
    shuffled = list(records)
    for position, index in enumerate(cycle):
        step = 1
        while records[cycle[(position + step) % len(cycle)]].clip == records[index].clip:
            step += 1
        other = records[cycle[(position + step) % len(cycle)]]
        shuffled[index] = replace(records[index], clip=other.clip, seconds=other.seconds)
    return shuffled
