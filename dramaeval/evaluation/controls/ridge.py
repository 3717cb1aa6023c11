"""A ridge regression from features of the clips to the mean ratings, for several controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import (
    ControlContext,
    prediction_of,
    sampled_indices,
    train_means,
)
from dramaeval.evaluation.predictions import Prediction

#: Penalties; the one with the smallest leave-one-out error on the training split is used.
ALPHAS = tuple(10.0**power for power in range(-2, 5))
LEAST_RECORDS = 10

#: Features ``[features]`` of each record's clip, or the reason why there are none.
Featuriser = Callable[[Sequence[Record]], list[np.ndarray | str]]


def fitted_predictions(context: ControlContext, featurise: Featuriser) -> list[Prediction]:
    """Fit each dimension's mean rating on the training split, and predict the held-out records, clipped to the scale.

    A missing feature (NaN) is replaced by the median of the training split, and an indicator column marks it. Clips
    without features stay unscored.

    Raises:
        NotPossibleError: there is no training split.
    """
    means = train_means(context)
    chosen = sampled_indices(len(context.train), context.most_clips, [context.seed, 3])
    learnt = featurise([context.train[index] for index in chosen])
    train = dict(zip(chosen, learnt, strict=True))
    held_out = featurise(context.records)
    asked = [context.task.dimensions_for(record) for record in context.records]
    predicted: dict[tuple[int, str], Prediction] = {}
    for dimension in context.task.dimensions:
        rated = means[dimension.key]
        fitted = [index for index in chosen if index in rated and _known(train[index])]
        indices = [index for index, dimensions in enumerate(asked) if dimension in dimensions]
        usable = [index for index in indices if _known(held_out[index])]
        reasons = {index: str(held_out[index]) for index in indices if index not in set(usable)}
        values: dict[int, float] = {}
        if len(fitted) < LEAST_RECORDS:
            reasons |= dict.fromkeys(usable, f"under {LEAST_RECORDS} training records are rated")
        elif usable:
            model = _ridge()
            model.fit(np.stack([train[index] for index in fitted]), [rated[i] for i in fitted])
            scores = model.predict(np.stack([held_out[index] for index in usable]))
            clipped = np.clip(scores, dimension.scale[0], dimension.scale[-1])
            values = dict(zip(usable, clipped.tolist(), strict=True))
        for index in indices:
            predicted[index, dimension.key] = prediction_of(
                context,
                context.records[index],
                dimension,
                values.get(index),
                reasons.get(index, ""),
            )
    return [
        predicted[index, dimension.key]
        for index, dimensions in enumerate(asked)
        for dimension in dimensions
    ]


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
