"""All dimensions in one question: the answer has one score per dimension, ``<answer>[PitchDynamics]4[…]3</answer>``.

A score in such an answer depends on the scores before it. Two ways of scoring are exact; both read the
distributions of all dimensions in one forward pass, each at the position of its score:

- ``earlier=own``: the earlier scores are the judge's likeliest scores, as in greedy decoding. Fixed-point
  iteration finds them (Jacobi decoding, Santilli et al. 2023, arXiv 2305.10427): each pass writes the scores
  that the previous pass read, until they no longer change. The first n scores are correct after n passes, so that
  ten dimensions need at most eleven passes, usually two or three.
- ``earlier=left_out``: every dimension is scored as the first of the answer, ``<answer>[Dimension]``, in one
  pass. This requires a judge that was trained with a shuffled order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.random import Generator

from dramaeval.config.problems import require_choice
from dramaeval.data.raters import RaterKey
from dramaeval.data.records import Record
from dramaeval.tasks.labels import sample
from dramaeval.tasks.question import LEAD, TAIL, AnswerField, Question, Target
from dramaeval.tasks.reference import clips_of_question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task
from dramaeval.tasks.wordings import PhrasingsError

ORDERS = ("fixed", "shuffled")
RATERS = ("independent", "consistent")
EARLIER = ("own", "left_out")


class AllDimensionsTask(Task):
    """A task that asks for all of a record's dimensions in one question.

    Args:
        order: order of the scores in training answers: ``fixed`` is the order of the rubric, ``shuffled`` is drawn
            each time. Scoring uses the order of the rubric.
        rater: source of the written scores in training answers. ``consistent`` writes the scores of one rater, who is
            drawn each time from the raters of the most dimensions; dimensions without a rating by this rater are not
            asked for. ``independent`` draws each score from the dimension's target; ``consistent`` does the same for
            a record without known raters. The targets at the positions of the scores come from the label policy; with
            ``labels=sample`` the written score is the target.
        earlier: the scores before each score in scoring, see the module.
        kwargs: further arguments of `Task`.
    """

    one_dimension_per_question = False
    layouts = ("context_first", "criteria_first")

    def __init__(
        self,
        *,
        order: str = "fixed",
        rater: str = "independent",
        earlier: str = "own",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_choice("task.order", order, ORDERS)
        require_choice("task.rater", rater, RATERS)
        require_choice("task.earlier", earlier, EARLIER)
        if rater == "consistent" and not self.raters_known:
            raise ValueError(
                "task.rater=consistent writes the scores of one rater, but task.raters=unknown says that raters are "
                "not known: set task.rater=independent."
            )
        if earlier == "left_out" and order == "fixed":
            raise ValueError(
                "task.earlier=left_out scores every dimension as the first of an answer, but a judge trained "
                "with task.order=fixed has seen only one dimension there: set task.order=shuffled, or "
                "task.earlier=own."
            )
        labels = [dimension.label for dimension in self.dimensions]
        repeated = sorted({label for label in labels if labels.count(label) > 1})
        if repeated:
            raise ValueError(
                f"The titles {', '.join(repeated)} stand for several dimensions, but one answer needs a "
                "different title for each: change them in the rubric."
            )
        self.order = order
        self.rater = rater
        self.earlier = earlier

    def scoring(self) -> dict[str, Any]:
        """The setting ``earlier``."""
        return {"earlier": self.earlier}

    def wording_variants(self, count: int, seed: int) -> list[Self]:
        """Raise PhrasingsError, because this task has only one wording."""
        raise PhrasingsError("this task asks for all dimensions in one question, in one wording")

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """One question; in scoring with ``earlier=left_out``, one question per dimension."""
        if not dimensions:
            return []
        shuffled = self.order == "shuffled"
        key = tuple(dimension.key for dimension in dimensions)
        if rng is None and self.earlier == "left_out":
            fields = {(*key, d.key): labelled_fields([d]) for d in dimensions}
        else:
            ordered = list(dimensions)
            if rng is not None and shuffled:
                ordered = [dimensions[index] for index in rng.permutation(len(dimensions))]
            fields = {key: labelled_fields(ordered)}
        # The prompt does not depend on the order of the answer.
        criteria = self.rubric.criteria(dimensions, any_order=shuffled)
        messages = self.chat(record, criteria, dimensions)
        clips = clips_of_question(record, dimensions)
        return [
            Question(messages=messages, answer_fields=answer, key=key, clips=clips)
            for key, answer in fields.items()
        ]

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator
    ) -> dict[str, Target]:
        """The targets by dimension key; ``rater`` determines the written scores."""
        targets = super().targets(record, dimensions, rng)
        has_raters = any(self.rater_info(record, dimension).known for dimension in dimensions)
        if self.rater == "consistent" and has_raters:
            return self._of_one_rater(record, dimensions, targets, rng)
        return {
            key: Target(
                target.distribution,
                int(rng.choice(len(target.distribution), p=target.distribution)),
            )
            for key, target in targets.items()
        }

    def _by_rater(self, record: Record, dimension: Dimension) -> dict[RaterKey, float]:
        """The values of the known raters of a dimension."""
        ratings = self.ratings(record, dimension)
        raters = self.rater_info(record, dimension).keys(len(ratings))
        rated = zip(raters, ratings, strict=bool(raters))
        return {rater: value for rater, value in rated if value is not None}

    def _of_one_rater(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        targets: dict[str, Target],
        rng: Generator,
    ) -> dict[str, Target]:
        """Replace the written scores by one rater's scores; dimensions without a rating by this rater are dropped."""
        by_rater = {d.key: self._by_rater(record, d) for d in dimensions if d.key in targets}
        counts = Counter(rater for row in by_rater.values() for rater in row)
        if not counts:
            return {}
        most = max(counts.values())
        candidates = [rater for rater, count in sorted(counts.items()) if count == most]
        rater = candidates[int(rng.choice(len(candidates)))]
        samples_rater = getattr(self.labels, "func", self.labels) is sample
        chosen = {}
        for dimension in dimensions:
            value = by_rater.get(dimension.key, {}).get(rater)
            if value is None:
                continue
            label = self.labels((value,), dimension.scale, rng)
            if label is not None:
                # A policy that samples a rater must sample this rater.
                target = label if samples_rater else targets[dimension.key].distribution
                chosen[dimension.key] = Target(target, int(np.argmax(label)))
        return chosen


def labelled_fields(dimensions: Sequence[Dimension]) -> tuple[AnswerField, ...]:
    """The fields of an answer that names each dimension before its score."""
    last = len(dimensions) - 1
    return tuple(
        AnswerField.of_score(
            dimension,
            lead=f"{LEAD if index == 0 else ''}[{dimension.label}]",
            tail=TAIL if index == last else "",
        )
        for index, dimension in enumerate(dimensions)
    )
