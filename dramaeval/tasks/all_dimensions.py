"""All dimensions in one question, answered one after another: ``<answer>[PitchDynamics]4[…]3</answer>``.

A score in such an answer depends on the scores before it. There are two exact ways of scoring, both in one
forward pass that reads every dimension's distribution at its own position:

- ``earlier=own``: the earlier scores are the judge's own, its likeliest at each place, as in greedy decoding.
  They are found by fixed-point iteration (Jacobi decoding, Santilli et al. 2023, arXiv 2305.10427): every
  pass writes what the pass before read, until what is read is what was written. The first n scores are right
  after n passes, so that ten dimensions take at most eleven passes, and mostly two or three.
- ``earlier=left_out``: every dimension is read as if it came first, ``<answer>[Dimension]``. That takes one
  pass, and is what the judge has learnt if the order is shuffled in training, and only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from dramaeval.data.records import Record
from dramaeval.tasks.labels import sample
from dramaeval.tasks.question import LEAD, TAIL, AnswerField, Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Target, Task
from dramaeval.tasks.wordings import PhrasingsError

ORDERS = ("fixed", "shuffled")
RATERS = ("independent", "consistent")
EARLIER = ("own", "left_out")


class AllDimensionsTask(Task):
    """A task that asks for all of a record's dimensions in one question.

    Args:
        order: of the scores in the answers that are trained: ``fixed`` is the rubric's, ``shuffled`` another
            each time. Scoring keeps the rubric's.
        rater: whose scores are written in the answers that are trained: ``consistent`` writes one rater's
            whole row, drawn anew each time from those who rated the most dimensions; what that rater left out
            is not asked for. ``independent`` draws each score by itself from the dimension's target. The
            targets themselves, at the places of the scores, are the label policy's; with
            ``labels=sample`` the score that is written is the target.
        earlier: how the scores before one are given in scoring, see the module.
        kwargs: see `Task`.
    """

    one_at_a_time = False

    def __init__(
        self,
        *,
        order: str = "fixed",
        rater: str = "independent",
        earlier: str = "own",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for key, value, known in (
            ("order", order, ORDERS),
            ("rater", rater, RATERS),
            ("earlier", earlier, EARLIER),
        ):
            if value not in known:
                raise ValueError(
                    f"task.{key}={value} is not known; choose one of {', '.join(known)}."
                )
        if earlier == "left_out" and order == "fixed":
            raise ValueError(
                "task.earlier=left_out asks for every dimension as the first, which a judge that was trained "
                "with task.order=fixed has seen of one alone: set task.order=shuffled, or task.earlier=own."
            )
        labels = [one.label for one in self.dimensions]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(
                f"The titles {', '.join(twice)} stand for several dimensions, which one answer has to tell "
                "apart: change them in the rubric."
            )
        self.order = order
        self.rater = rater
        self.earlier = earlier

    def scoring(self) -> dict[str, Any]:
        """See `Task.scoring`."""
        return {"earlier": self.earlier}

    def phrased(self, count: int, seed: int) -> list[Self]:
        """See `Task.phrased`: the one question lists all dimensions, in the rubric's words.

        Raises:
            PhrasingsError: always.
        """
        raise PhrasingsError("this task asks for all dimensions in one question, in one wording")

    def questions(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        rng: np.random.Generator | None = None,
    ) -> list[Question]:
        """See `Task.questions`: one question, or one a dimension where earlier scores are left out."""
        if not dimensions:
            return []
        shuffled = self.order == "shuffled"
        messages = self.chat(record, self.rubric.criteria(dimensions, any_order=shuffled))
        key = tuple(one.key for one in dimensions)
        if rng is None and self.earlier == "left_out":
            return [
                Question(messages=messages, places=places_of([one]), key=(*key, one.key))
                for one in dimensions
            ]
        written = list(dimensions)
        if rng is not None and shuffled:
            written = [dimensions[at] for at in rng.permutation(len(dimensions))]
        # The prompt is the same in any order of the answer.
        return [Question(messages=messages, places=places_of(written), key=key)]

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: np.random.Generator
    ) -> dict[str, Target]:
        """See `Task.targets`; what is written follows ``rater``."""
        found = super().targets(record, dimensions, rng)
        if self.rater == "consistent":
            return self._of_one_rater(record, dimensions, found, rng)
        return {
            key: Target(
                one.distribution, int(rng.choice(len(one.distribution), p=one.distribution))
            )
            for key, one in found.items()
        }

    def _of_one_rater(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        targets: dict[str, Target],
        rng: np.random.Generator,
    ) -> dict[str, Target]:
        rows = {one.key: self.ratings(record, one) for one in dimensions if one.key in targets}
        places = range(max((len(row) for row in rows.values()), default=0))
        given = [
            sum(at < len(row) and row[at] is not None for row in rows.values()) for at in places
        ]
        if not rows or max(given) == 0:
            return {}
        rater = int(rng.choice([at for at in places if given[at] == max(given)]))
        found = {}
        for one in dimensions:
            row = rows.get(one.key, ())
            if rater >= len(row) or row[rater] is None:
                continue
            own = self.labels((row[rater],), one.scale, rng)
            if own is not None:
                # A policy that draws a rater has to draw this one.
                target = own if self._draws_a_rater else targets[one.key].distribution
                found[one.key] = Target(target, int(np.argmax(own)))
        return found

    @property
    def _draws_a_rater(self) -> bool:
        return getattr(self.labels, "func", self.labels) is sample


def places_of(dimensions: Sequence[Dimension]) -> tuple[AnswerField, ...]:
    """The places of an answer that names each dimension before its score."""
    last = len(dimensions) - 1
    return tuple(
        AnswerField.of_score(
            one,
            lead=f"{LEAD if at == 0 else ''}[{one.label}]",
            tail=TAIL if at == last else "",
        )
        for at, one in enumerate(dimensions)
    )
