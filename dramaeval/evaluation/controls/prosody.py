"""Prosody: a ridge regression on acoustic features, fitted on the training split.

It uses neither the words nor the scene, so a judge that understands acting has to do better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import (
    ControlContext,
    prediction_of,
    train_means,
)
from dramaeval.evaluation.controls.prosody_features import RATE, features
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "a ridge regression on f0, energy, pauses and rate"
#: Penalties; the one with the smallest leave-one-out error on the training split is used.
ALPHAS = tuple(10.0**power for power in range(-2, 5))
LEAST_RECORDS = 10


def prosody(context: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from the clip's features, clipped to the scale.

    A missing feature (f0 of a clip without voice) is replaced by the training split's median, and an indicator
    column marks it. Clips that cannot be decoded stay unscored.

    Raises:
        NotPossibleError: there is no training split.
    """
    means = train_means(context)
    chosen = _chosen(len(context.train), context.most_clips, context.seed)
    train = {index: _features(context.train[index], context) for index in chosen}
    held_out = [_features(record, context) for record in context.records]
    asked = [context.task.dimensions_for(record) for record in context.records]
    predicted: dict[tuple[int, str], Prediction] = {}
    for dimension in context.task.dimensions:
        rated = {index: mean for index, mean in means[dimension.key].items() if index in train}
        fitted = [index for index in chosen if index in rated and _known(train[index])]
        wanted = [index for index, dimensions in enumerate(asked) if dimension in dimensions]
        usable = [index for index in wanted if _known(held_out[index])]
        states = {index: str(held_out[index]) for index in wanted if index not in set(usable)}
        values: dict[int, float] = {}
        if len(fitted) < LEAST_RECORDS:
            states |= dict.fromkeys(usable, f"under {LEAST_RECORDS} training records are rated")
        elif usable:
            model = _ridge()
            model.fit(np.stack([train[index] for index in fitted]), [rated[i] for i in fitted])
            scores = model.predict(np.stack([held_out[index] for index in usable]))
            clipped = np.clip(scores, dimension.scale[0], dimension.scale[-1])
            values = dict(zip(usable, clipped.tolist(), strict=True))
        for index in wanted:
            given = {} if index in values else {"state": states[index]}
            predicted[index, dimension.key] = prediction_of(
                context, context.records[index], dimension, values.get(index), **given
            )
    return [
        predicted[index, dimension.key]
        for index, dimensions in enumerate(asked)
        for dimension in dimensions
    ]


def _chosen(count: int, most: int, seed: int) -> Sequence[int]:
    """Indices of the training records that are decoded: all, or a seeded sample of ``most``."""
    if count <= most:
        return range(count)
    return sorted(np.random.default_rng([seed, 3]).choice(count, most, replace=False).tolist())


def _features(record: Record, context: ControlContext) -> Any:
    """The clip's features, or the reason why there are none."""
    try:
        values = features(decode(record.clip, RATE, max_seconds=context.record_encoder.max_seconds))
    except UnreadableClipError as error:
        return f"unreadable clip: {error.reason}"
    context.progress(1)
    return values


def _known(values: Any) -> bool:
    return not isinstance(values, str)


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
