"""How well the scores of a batch order its clips."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.training.rewards.completion import Completion, Given


class Correlation:
    """The share of the other clips in the batch that the score ranks as the ratings do, as in Kendall's tau.

    A completion is compared with every completion about other clips that are asked for the same dimension and
    whose mean rating differs: 1 where the two scores differ as the ratings do, ½ where they are the same, 0
    otherwise. A question without such a partner earns 0 with every answer, and so teaches nothing; an
    unreadable answer earns 0. Partners are found among the questions that a process generates together: the
    more (``batch.per_device``, ``trainer.args.steps_per_generation``), the better.
    """

    needs_order = True
    needs_batch = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward a completion, in 0 to 1; the mean over the places of an answer."""
        by_dimension: dict[str, list[tuple[str, Given]]] = {}
        for one in completions:
            for given in one.given:
                if given.score is not None:
                    by_dimension.setdefault(given.dimension, []).append((one.id, given))
        return [
            sum(_value(one.id, given, by_dimension.get(given.dimension, ())) for given in one.given)
            / len(one.given)
            for one in completions
        ]


def _value(record: str, given: Given, others: Sequence[tuple[str, Given]]) -> float:
    if given.score is None:
        return 0.0
    points = []
    for name, other in others:
        rated = given.mean_rating - other.mean_rating
        if name == record or rated == 0 or other.score is None:
            continue
        product = (given.score - other.score) * rated
        points.append(0.5 if product == 0 else float(product > 0))
    return sum(points) / len(points) if points else 0.0
