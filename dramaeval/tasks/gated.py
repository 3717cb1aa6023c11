"""Tasks in which raters first pass or reject a record, and rate the other dimensions only if they passed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from dramaeval.data.records import AnnotationField, Record, RecordFormat
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task


class GatedTask(Task):
    """A task whose gate, a pass/fail question, decides whether the other questions are asked.

    Raters who reject a record do not rate its other dimensions. These ratings are missing: they are not trained and
    never count as low scores. If too few raters passed a record, only the gate question is asked about it.

    Args:
        gate: key of the pass/fail dimension.
        gate_share: the smallest share of raters who must pass a record for its other questions to be asked; 0 asks
            all questions about every record. All questions are also asked about a record without gate ratings, for
            example in scoring.
        kwargs: further arguments of `Task`.
    """

    def __init__(self, *, gate: str, gate_share: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.rubric[gate].scale != (0, 1):
            raise ValueError(
                f"task.gate={gate} must be a pass/fail dimension (scale 0-1), "
                f"its scale is {list(self.rubric[gate].scale)}."
            )
        if not 0 <= gate_share <= 1:
            raise ValueError(f"task.gate_share={gate_share} must lie between 0 and 1.")
        self.gate = self.rubric[gate]
        self.gate_share = gate_share

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """The record format with the gate, even if only other dimensions are asked for."""
        fmt = super().record_format(annotated=annotated)
        gate = AnnotationField(name=self.gate.annotation, low=0, high=1)
        if gate.name in {field.name for field in fmt.annotation_fields}:
            return fmt
        return replace(fmt, annotation_fields=(gate, *fmt.annotation_fields))

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The numbers of rejected records, and of passed records with missing ratings."""
        passed = [record for record in records if self.passed(record)]
        incomplete = sum(
            any(None in self.ratings(record, dimension) for dimension in self.dimensions)
            for record in passed
        )
        counts = {
            f"were passed by too few raters, so only {self.gate.key} is asked": len(records)
            - len(passed),
            "were passed and lack ratings by some raters, which count as missing": incomplete,
        }
        return super().remarks(records) | {text: count for text, count in counts.items() if count}

    def passed(self, record: Record) -> bool:
        """Whether enough raters passed the record, or the record has no gate ratings."""
        votes = record.given(self.gate.annotation)
        return not votes or sum(votes) / len(votes) >= self.gate_share

    def without_ratings(self) -> Self:
        """A copy of this task that asks all questions about every record."""
        return self._with(gate_share=0.0)

    def dimensions_for(self, record: Record) -> tuple[Dimension, ...]:
        """All dimensions for a passed record; only the gate for a rejected record."""
        if self.passed(record):
            return self.dimensions
        return tuple(d for d in self.dimensions if d.key == self.gate.key)
