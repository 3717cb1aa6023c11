"""Prosody: a ridge regression on plain acoustic figures, learnt on the training split.

What it reaches needs neither words nor a scene, so a judge that hears acting has to do better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.records import Record
from dramaeval.evaluation.controls.prosody_features import RATE, features
from dramaeval.evaluation.controls.setting import ControlContext, prediction_of, train_means
from dramaeval.evaluation.predictions import SCORED, Prediction

WHAT = "a ridge regression on f0, energy, pauses and rate"
#: Strengths of the penalty; the one with the least leave-one-out error on the training split is taken.
ALPHAS = tuple(10.0**power for power in range(-2, 5))
LEAST_RECORDS = 10


def prosody(setting: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from the clip's figures; cut to the scale.

    Figures that a clip does not have (its f0, where nothing is voiced) take the training split's median, and
    a column of their own says so. Clips that cannot be decoded stay unscored.

    Raises:
        NotPossibleError: there is no training split.
    """
    means = train_means(setting)
    chosen = _chosen(len(setting.train), setting.most_clips, setting.seed)
    heard = {at: _features(setting.train[at], setting) for at in chosen}
    asked = [_features(record, setting) for record in setting.records]
    found: dict[tuple[int, str], Prediction] = {}
    for dimension in setting.task.dimensions:
        learnt = [at for at in chosen if at in means[dimension.key] and _known(heard[at])]
        wanted = [
            at
            for at, record in enumerate(setting.records)
            if dimension in setting.task.asked(record)
        ]
        low, high = dimension.scale[0], dimension.scale[-1]
        usable = [at for at in wanted if _known(asked[at])]
        states = {at: str(asked[at]) for at in wanted if not _known(asked[at])}
        values: dict[int, float] = {}
        if len(learnt) < LEAST_RECORDS:
            states |= dict.fromkeys(usable, f"under {LEAST_RECORDS} training records are rated")
        elif usable:
            model = _ridge()
            model.fit(
                np.stack([np.asarray(heard[at]) for at in learnt]),
                [means[dimension.key][at] for at in learnt],
            )
            said = model.predict(np.stack([np.asarray(asked[at]) for at in usable]))
            values = dict(zip(usable, np.clip(said, low, high).tolist(), strict=True))
        for at in wanted:
            state = SCORED if at in values else states[at]
            found[at, dimension.key] = prediction_of(
                setting, setting.records[at], dimension, values.get(at), state=state
            )
    return [
        found[at, dimension.key]
        for at, record in enumerate(setting.records)
        for dimension in setting.task.asked(record)
    ]


def _chosen(count: int, most: int, seed: int) -> Sequence[int]:
    """Places of the training records that are listened to: all, or a seeded draw of ``most``."""
    if count <= most:
        return range(count)
    return sorted(np.random.default_rng([seed, 3]).choice(count, most, replace=False).tolist())


def _features(record: Record, setting: ControlContext) -> np.ndarray | str:
    """The clip's figures, or why there are none."""
    try:
        found = features(decode(record.clip, RATE, max_seconds=setting.record_encoder.max_seconds))
    except UnreadableClipError as error:
        return f"unreadable clip: {error.reason}"
    setting.progress(1)
    return found


def _known(found: np.ndarray | str) -> bool:
    return not isinstance(found, str)


def _ridge() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        RidgeCV(alphas=ALPHAS),
    )
