"""A reward for scores of the two clips of a pair that agree with the raters' votes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dramaeval.training.rewards.completion import Completion, FieldAnswer


class PairAccuracy:
    """The mean agreement with the votes, over all completions about the other clip of the pair.

    For a share t of tie votes, the agreement of two scores is (1 − t)·c + t/2. c is 1 if the clip that the votes prefer
    has the higher score, ½ if both scores are equal or the votes prefer neither clip, and 0 otherwise. A tie vote
    therefore counts half for every answer, and a vote of ±1 on the graded scale is half a tie. An unreadable answer
    earns 0 and is no partner; without a readable partner every answer earns 0.

    The completions about the two clips are independent, so that the expected reward of each is the expected agreement
    of the pair. The gradient of GRPO's sum over the two questions is the gradient of this expectation, up to the factor
    (G − 1)/G from GRPO's baseline.
    """

    needs_order = True
    needs_batch = True
    needs_pairs = True

    def __call__(self, completions: Sequence[Completion]) -> list[float]:
        """One reward per completion, from 0 to 1."""
        scores: dict[tuple[str, str, str | None], list[float]] = {}
        for completion in completions:
            for answer in completion.answers:
                if answer.score is not None:
                    key = (completion.id, answer.dimension, completion.clip_of_pair)
                    scores.setdefault(key, []).append(answer.score)
        rewards = []
        for completion in completions:
            other = {"a": "b", "b": "a"}.get(completion.clip_of_pair or "")
            rewards.append(completion.mean(partial(_value, scores, completion.id, other)))
        return rewards


def _value(
    scores: dict[tuple[str, str, str | None], list[float]],
    record: str,
    other: str | None,
    answer: FieldAnswer,
) -> float:
    partners = scores.get((record, answer.dimension, other), []) if other else []
    if answer.score is None or not partners:
        return 0.0
    ties = sum(1 - abs(vote) for vote in answer.ratings) / len(answer.ratings)
    agreements = [
        0.5 if (product := (answer.score - score) * answer.mean_rating) == 0 else float(product > 0)
        for score in partners
    ]
    return (1 - ties) * sum(agreements) / len(agreements) + ties / 2
