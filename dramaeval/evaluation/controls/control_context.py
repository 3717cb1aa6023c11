"""The input of a control, and helpers that several controls share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task


class NotPossibleError(Exception):
    """A control cannot be computed on these data; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class ControlContext:
    """The judge, its questions, and the data that a control may use.

    Attributes:
        task: defines the questions.
        records: the held-out records.
        train: the training records; empty where there is no training split.
        record_encoder: prepares records for the judge.
        score: scores records that a record encoder prepares with the judge.
        group_by: record key that clusters the bootstrap.
        seed: of all random choices.
        phrasings: wordings of each question in the phrasing control.
        most_clips: maximum number of training clips that a control decodes.
        progress: called with the number of clips just decoded.
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
    progress: Callable[[int], None]


def require_audio_judge(context: ControlContext) -> None:
    """Check that the judge's prompt has the clip's sound and no description of it.

    Raises:
        NotPossibleError: the judge takes no audio, or its prompt describes the right sound in words.
    """
    if not context.record_encoder.family.takes_audio:
        raise NotPossibleError("this judge takes no audio")
    if context.task.scoring().get("thought_in_scoring") == "given":
        raise NotPossibleError(
            "the thought that is given before the score describes the right sound; "
            "task.thought_in_scoring=skip or generate can be tested"
        )


def score_encoded_by(
    context: ControlContext, encoder_class: type[RecordEncoder]
) -> list[Prediction]:
    """Score every record with the judge, encoded by another class of encoder.

    Raises:
        NotPossibleError: see `require_audio_judge`.
    """
    require_audio_judge(context)
    judges_encoder = context.record_encoder
    encoder = encoder_class(
        judges_encoder.task,
        judges_encoder.processor,
        judges_encoder.family,
        max_seconds=judges_encoder.max_seconds,
        cache_clips=judges_encoder.cache_clips,
    )
    return context.score(context.records, encoder)


def prediction_of(
    context: ControlContext,
    record: Record,
    dimension: Dimension,
    expected: float | None,
    *,
    state: str = SCORED,
) -> Prediction:
    """A prediction of a control that uses no model: an expected score without a distribution."""
    return Prediction(
        id=record.id,
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=None,
        expected=expected,
        ratings=context.task.ratings(record, dimension),
        raters=context.task.rater_info(record, dimension),
        state=state,
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
            given = [r for r in context.task.ratings(record, dimension) if r is not None]
            if given:
                means[dimension.key][index] = sum(given) / len(given)
    return means
