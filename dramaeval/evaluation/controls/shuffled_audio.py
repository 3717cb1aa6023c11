"""Shuffled audio: the same judge and the same texts, each with another record's clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.setting import ControlContext, NotPossibleError, require_hearing
from dramaeval.evaluation.predictions import Prediction

WHAT = "the same judge with another record's clip"


def shuffled_audio(setting: ControlContext) -> list[Prediction]:
    """Score every record with the clip of another, seeded; no clip stays where it was.

    Raises:
        NotPossibleError: see `require_hearing`; or all records share one clip.
    """
    require_hearing(setting)
    return setting.score(exchanged(setting.records, setting.seed), setting.record_encoder)


def exchanged(records: Sequence[Record], seed: int) -> list[Record]:
    """The records with their clips exchanged: a random circle through all of them.

    Every clip is used as often as before, so that only its place says nothing any more. Where a neighbour on
    the circle has the very same clip, the next one with another clip gives its own instead.

    Raises:
        NotPossibleError: there are not two different clips.
    """
    if len({record.clip for record in records}) < 2:
        raise NotPossibleError("there are not two different clips to exchange")
    circle = np.random.default_rng([seed, 2]).permutation(len(records)).tolist()
    made = list(records)
    for place, at in enumerate(circle):
        step = 1
        while records[circle[(place + step) % len(circle)]].clip == records[at].clip:
            step += 1
        other = records[circle[(place + step) % len(circle)]]
        made[at] = replace(records[at], clip=other.clip, seconds=other.seconds)
    return made
