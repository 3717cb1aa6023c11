"""Tasks in which raters first pass or reject a record, and rate the rest only where they passed it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

from dramaeval.data.records import AnnotationField, Record, RecordFormat
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task


class GatedTask(Task):
    """A task whose first question decides whether the others are asked.

    Raters who reject a record leave its other ratings empty. Those are missing ratings: they train nothing
    and are never read as low scores. A record that too few raters passed is asked for the gate alone.

    Args:
        gate: key of the pass/fail dimension.
        gate_share: the least share of passes among the raters who judged it for the other questions to be
            asked. A record without such ratings (to be scored) is asked everything.
        kwargs: see `Task`.
    """

    def __init__(self, *, gate: str, gate_share: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.rubric[gate].scale != (0, 1):
            raise ValueError(
                f"task.gate={gate} must be a pass/fail dimension (scale 0-1), "
                f"its scale is {list(self.rubric[gate].scale)}."
            )
        if not 0 < gate_share <= 1:
            raise ValueError(f"task.gate_share={gate_share} must lie above 0 and at most at 1.")
        self.gate = self.rubric[gate]
        self.gate_share = gate_share

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """See `Task.record_format`; the gate is read even where only other dimensions are asked for."""
        found = super().record_format(annotated=annotated)
        gate = AnnotationField(name=self.gate.annotation, low=0, high=1)
        known = {one.name for one in found.annotation_fields}
        if gate.name in known:
            return found
        return replace(found, annotation_fields=(gate, *found.annotation_fields))

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """See `Task.remarks`: records that were rejected, and those with ratings missing."""
        rejected = sum(not self.passed(record) for record in records)
        open_ones = sum(
            any(
                one is None
                for dimension in self.dimensions
                for one in self.ratings(record, dimension)
            )
            for record in records
            if self.passed(record)
        )
        found = {
            f"were passed by too few raters and are asked for {self.gate.key} alone": rejected,
            "were passed and lack ratings by some raters, which count as missing": open_ones,
        }
        return {text: count for text, count in found.items() if count}

    def passed(self, record: Record) -> bool:
        """Whether enough raters passed the record, or none was asked."""
        votes = [value for value in self.ratings(record, self.gate) if value is not None]
        return not votes or sum(votes) / len(votes) >= self.gate_share

    def without_ratings(self) -> Self:
        """See `Task.without_ratings`: everything is asked, whoever passed the record."""
        other = copy(self)
        other.gate_share = 0.0
        return other

    def asked(self, record: Record) -> tuple[Dimension, ...]:
        """See `Task.asked`."""
        if self.passed(record):
            return self.dimensions
        return tuple(one for one in self.dimensions if one.key == self.gate.key)
