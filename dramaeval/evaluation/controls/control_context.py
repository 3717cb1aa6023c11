"""The input of a control, and helpers that several controls share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

Encoder = TypeVar("Encoder", bound=RecordEncoder)


class NotPossibleError(Exception):
    """A control cannot be computed on these data; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class ControlContext:
    """The judge, its questions, and the data that a control may use.

    Attributes:
        task: defines the questions.
        records: the held-out records.
        train: the training records; empty without a training split.
        record_encoder: prepares records for the judge.
        score: scores records with the judge; the second argument encodes them.
        group_by: key of the records that clusters the bootstrap.
        seed: seed of all random choices.
        phrasings: number of wordings of each question in the phrasing control.
        most_clips: maximum number of training clips that a control decodes.
        changed_clips: maximum number of held-out records that are scored under every change of clip or text.
        draws: number of bootstrap draws.
        level: confidence level of the bootstrap intervals.
        progress: called with the number of clips just decoded.
        pooled_encodings: computes for each record the outputs of the base model's audio tower, averaged over time,
            ``[width]``, or the reason why a clip has none; raises `NotPossibleError` for a model without an audio tower.
    """

    task: Task
    records: Sequence[Record]
    train: Sequence[Record]
    record_encoder: RecordEncoder
    score: Callable[[Sequence[Record], RecordEncoder], list[Prediction]]
    group_by: str
    seed: int
    phrasings: int
    most_clips: int
    changed_clips: int
    draws: int
    level: float
    progress: Callable[[int], None]
    pooled_encodings: Callable[[Sequence[Record]], list[np.ndarray | str]]


def require_clips(context: ControlContext) -> None:
    """Check that the clips were located and their lengths read, which a judge without audio does not need.

    Raises:
        NotPossibleError: the judge takes no audio.
    """
    if not context.record_encoder.family.takes_audio:
        raise NotPossibleError("this judge takes no audio, so that the clips are not read")


def require_audio_judge(context: ControlContext) -> None:
    """Check that the judge's prompt has the clip and no description of its sound.

    Raises:
        NotPossibleError: the judge takes no audio, or its prompt describes the sound of the right clip.
    """
    require_clips(context)
    if context.task.scoring().get("thought_in_scoring") == "given":
        raise NotPossibleError(
            "the thought that is given before the score describes the right sound; "
            "task.thought_in_scoring=skip or generate can be tested"
        )


def score_encoded_by(
    context: ControlContext, encoder_class: type[RecordEncoder]
) -> list[Prediction]:
    """Score every record with the judge; another class of encoder prepares the records.

    Raises:
        NotPossibleError: see `require_audio_judge`.
    """
    require_audio_judge(context)
    return context.score(context.records, encoder_like(context.record_encoder, encoder_class))


def encoder_like(encoder: RecordEncoder, encoder_class: type[Encoder]) -> Encoder:
    """Make an encoder of another class for the same judge, without cached features or encodings."""
    return encoder_class(
        encoder.task,
        encoder.processor,
        encoder.family,
        max_seconds=encoder.max_seconds,
        cache_clips=encoder.cache_clips,
    )


def sampled_records(context: ControlContext) -> list[Record]:
    """The held-out records; a seeded sample, in the same order, if there are more than ``changed_clips``."""
    chosen = sampled_indices(len(context.records), context.changed_clips, [context.seed, 4])
    return [context.records[index] for index in chosen]


def sampled_indices(count: int, most: int, seed: Sequence[int]) -> Sequence[int]:
    """The indices up to ``count`` in rising order; a seeded sample of ``most`` if there are more."""
    if count <= most:
        return range(count)
    return sorted(np.random.default_rng(seed).choice(count, most, replace=False).tolist())


def prediction_of(
    context: ControlContext,
    record: Record,
    dimension: Dimension,
    expected: float | None,
    reason: str,
) -> Prediction:
    """Make the prediction of a control that uses no model: an expected score without a distribution.

    ``reason`` is the state if there is no score.
    """
    return Prediction(
        id=record.id,
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=None,
        expected=expected,
        ratings=context.task.ratings(record, dimension),
        raters=context.task.rater_info(record, dimension),
        state=SCORED if expected is not None else reason,
        group=group_of(record, context.group_by),
        system=record.system,
    )


def train_means(context: ControlContext) -> Mapping[str, dict[int, float]]:
    """Mean rating of every rated training record, by dimension and index in ``train``.

    Raises:
        NotPossibleError: there is no training split.
    """
    if not context.train:
        raise NotPossibleError("there is no training split (task.data.train=…)")
    means: dict[str, dict[int, float]] = {
        dimension.key: {} for dimension in context.task.dimensions
    }
    for index, record in enumerate(context.train):
        for dimension in context.task.dimensions_for(record):
            ratings = [r for r in context.task.ratings(record, dimension) if r is not None]
            if ratings:
                means[dimension.key][index] = sum(ratings) / len(ratings)
    return means
