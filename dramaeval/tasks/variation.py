"""Questions in many wordings: another each time in training, the mean over several in scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from dramaeval.data.records import Record
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task
from dramaeval.tasks.wordings import LEAST
from dramaeval.tasks.wordings import wordings as in_words


class VariationTask(Task):
    """A task that asks the same in other words.

    Args:
        phrasings: what the wordings are made of, see `dramaeval.tasks.wordings`.
        wordings: how many distinct ones there are of each dimension, at least 30; the first is the rubric's.
        wordings_in_scoring: over how many of them a score is averaged; how far it depends on the wording is
            reported beside it. The first are taken, the same for every record.
        wordings_seed: of their choice. It stands apart from the run's seed, so that runs compare.
        kwargs: see `Task`.
    """

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
        if wordings < LEAST:
            raise ValueError(f"task.wordings={wordings} must be {LEAST} or more.")
        if not 1 <= wordings_in_scoring <= wordings:
            raise ValueError(
                f"task.wordings_in_scoring={wordings_in_scoring} must lie between 1 and "
                f"task.wordings={wordings}."
            )
        self.wordings_in_scoring = wordings_in_scoring
        self.wordings_seed = wordings_seed
        self.worded = in_words(
            self.rubric, self.dimensions, phrasings, count=wordings, seed=wordings_seed
        )

    def scoring(self) -> dict[str, Any]:
        """See `Task.scoring`."""
        return {"wordings_in_scoring": self.wordings_in_scoring}

    def questions(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        rng: np.random.Generator | None = None,
    ) -> list[Question]:
        """See `Task.questions`: in scoring one for each wording, all about the same."""
        return [
            Question(
                messages=self.chat(record, self.worded[one.key][number], one),
                places=(AnswerField.of_score(one),),
                key=(one.key, str(number)),
                wording=number,
            )
            for one in dimensions
            for number in self._numbers(one, rng)
        ]

    def _asking(self, criteria: Mapping[str, str]) -> Self:
        """See `Task.phrased`: one wording, in place of the mean over several."""
        other = super()._asking(criteria)
        other.worded = {key: [text] for key, text in criteria.items()}
        other.wordings_in_scoring = 1
        return other

    def _numbers(self, dimension: Dimension, rng: np.random.Generator | None) -> Sequence[int]:
        if rng is None:
            return range(self.wordings_in_scoring)
        return [int(rng.integers(len(self.worded[dimension.key])))]
