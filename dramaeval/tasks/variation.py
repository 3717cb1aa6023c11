"""Questions in many wordings: training draws one wording each time, scoring averages over several wordings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from numpy.random import Generator

from dramaeval.data.records import Record
from dramaeval.tasks import wordings as phrasing
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.reference import clips_of_question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task


class VariationTask(Task):
    """A task that asks each question in different wordings.

    Args:
        phrasings: parts of the wordings, see `dramaeval.tasks.wordings`.
        wordings: number of distinct wordings of each dimension, at least 30; the first is the rubric's wording.
        wordings_in_scoring: number of wordings over which a score is averaged. These are the first wordings, the same
            for every record; results report the spread between them.
        wordings_seed: seed of the choice of wordings, separate from the run's seed, so that runs are comparable.
        kwargs: further arguments of `Task`.
    """

    # Each wording is a complete question.
    layouts = ("context_first", "criteria_first")

    def __init__(
        self,
        *,
        phrasings: Mapping[str, Any],
        wordings: int = 40,
        wordings_in_scoring: int = 4,
        wordings_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(phrasings=phrasings, **kwargs)
        if wordings < phrasing.LEAST:
            raise ValueError(f"task.wordings={wordings} must be {phrasing.LEAST} or more.")
        if not 1 <= wordings_in_scoring <= wordings:
            raise ValueError(
                f"task.wordings_in_scoring={wordings_in_scoring} must lie between 1 and "
                f"task.wordings={wordings}."
            )
        self.wordings_in_scoring = wordings_in_scoring
        self.wordings_seed = wordings_seed
        self.worded = phrasing.wordings(
            self.rubric, self.dimensions, phrasings, count=wordings, seed=wordings_seed
        )

    def scoring(self) -> dict[str, Any]:
        """The number of wordings over which a score is averaged."""
        return {"wordings_in_scoring": self.wordings_in_scoring}

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """One question per dimension in a random wording; in scoring, one per dimension and wording."""
        return [
            Question(
                messages=self.chat(record, self.worded[dimension.key][number], [dimension]),
                answer_fields=(AnswerField.of_score(dimension),),
                key=(dimension.key, str(number)),
                wording=number,
                clips=clips_of_question(record, [dimension]),
            )
            for dimension in dimensions
            for number in self._numbers(dimension, rng)
        ]

    def _with_criteria(self, criteria: Mapping[str, str]) -> Self:
        other = super()._with_criteria(criteria)
        other.worded = {key: [text] for key, text in criteria.items()}
        other.wordings_in_scoring = 1
        return other

    def in_longest_wording(self, length: Callable[[str], int]) -> Self:
        """This task with only the longest wording of each dimension; ``length`` is of a text."""
        return self._with_criteria(
            {key: max(texts, key=length) for key, texts in self.worded.items()}
        )

    def _numbers(self, dimension: Dimension, rng: Generator | None) -> Sequence[int]:
        if rng is None:
            return range(self.wordings_in_scoring)
        return [int(rng.integers(len(self.worded[dimension.key])))]
