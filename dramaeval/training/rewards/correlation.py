"""A reward for scores that put the clips of a batch into the order of the ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from dramaeval.training.rewards.completion import Completion, FieldAnswer


class Correlation:
    """The share of comparisons with other clips in which scores and ratings have the same order, as in Kendall's tau.

    A completion is compared with every completion about another clip that has the same dimension and another mean
    rating. A comparison counts 1 if the two scores have the order of the ratings, ½ if they are equal, and 0 otherwise.
    An unreadable answer earns 0. If a question has no partner, all its answers earn 0, so that it trains nothing.
    Partners are the questions that one process generates together; ``batch.per_device`` and
    ``trainer.args.steps_per_generation`` increase their number.
    """

    needs_order = True
    needs_ratings = True
    needs_batch = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, from 0 to 1: the mean over the fields of its answer."""
        by_dimension: dict[str, list[tuple[str, FieldAnswer]]] = {}
        for completion in completions:
            for answer in completion.answers:
                if answer.score is not None:
                    by_dimension.setdefault(answer.dimension, []).append((completion.id, answer))
        return [
            completion.mean(partial(_value, completion.id, by_dimension))
            for completion in completions
        ]


def _value(
    record: str,
    by_dimension: Mapping[str, Sequence[tuple[str, FieldAnswer]]],
    answer: FieldAnswer,
) -> float:
    if answer.score is None:
        return 0.0
    points = []
    for other_record, other in by_dimension[answer.dimension]:
        rated = answer.mean_rating - other.mean_rating
        if other_record == record or rated == 0 or other.score is None:
            continue
        product = (answer.score - other.score) * rated
        points.append(0.5 if product == 0 else float(product > 0))
    return sum(points) / len(points) if points else 0.0
