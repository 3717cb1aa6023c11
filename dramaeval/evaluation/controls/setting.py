"""What a control is given, and what it gives back."""

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
    """A control cannot be had here; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class ControlContext:
    """The judge, what it was asked, and what else a control may use.

    Attributes:
        task: what is asked.
        records: the held-out records.
        train: the training records; empty where there are none.
        record_encoder: prepares records as the judge gets them.
        score: lets the judge score records prepared by a encoded_record maker.
        group_by: record key that clusters the bootstrap.
        seed: of everything random.
        phrasings: wordings of each question in the phrasing control.
        most_clips: training clips that may be listened to, at most.
        progress: told how many clips were just listened to.
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


def require_hearing(setting: ControlContext) -> None:
    """Controls that take the right sound away.

    Raises:
        NotPossibleError: the judge hears nothing anyway, or is told in words what the right sound is like.
    """
    if not setting.record_encoder.family.takes_audio:
        raise NotPossibleError("this judge only reads")
    if setting.task.scoring().get("thought_in_scoring") == "given":
        raise NotPossibleError(
            "the thought that is given before the score tells of the right sound; "
            "task.thought_in_scoring=skip or generate can be tested"
        )


def prediction_of(
    setting: ControlContext,
    record: Record,
    dimension: Dimension,
    expected: float | None,
    *,
    distribution: Sequence[float] | None = None,
    state: str = SCORED,
) -> Prediction:
    """A prediction that no model made, in the form of those that one did."""
    return Prediction(
        id=record.id,
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=None if distribution is None else tuple(distribution),
        expected=expected,
        ratings=setting.task.ratings(record, dimension),
        state=state,
        group=group_of(record, setting.group_by),
        system=record.system,
    )


def train_means(setting: ControlContext) -> Mapping[str, dict[int, float]]:
    """Mean rating of every rated training record, by dimension and place in ``train``.

    Raises:
        NotPossibleError: there is no training split.
    """
    if not setting.train:
        raise NotPossibleError("there is no training split (task.data.train=…)")
    found: dict[str, dict[int, float]] = {one.key: {} for one in setting.task.dimensions}
    for at, record in enumerate(setting.train):
        for dimension in setting.task.asked(record):
            given = [r for r in setting.task.ratings(record, dimension) if r is not None]
            if given:
                found[dimension.key][at] = sum(given) / len(given)
    return found
