"""The pair predictions of one dimension as arrays: the input of every pair metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import ratio
from dramaeval.evaluation.pair_predictions import PairPrediction

A, TIE, B = 1.0, 0.0, -1.0
"""The verdicts: clip a is better, neither is better, clip b is better. NaN means that there is no verdict."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairArrays:
    """The pairs of one dimension, one row per pair.

    A pair without votes has NaN in `signs`, `verdict` and `strength`; a pair that the judge did not compare in both
    orders has NaN in `orders`.

    Attributes:
        outcomes: the judge's probabilities of a, tie, b: ``(n, 3)``.
        margin: expected score of a minus expected score of b, or p_a − p_b without single scores: ``(n,)``.
        signs: each vote as a verdict, ``(n, R)``; NaN if it is missing or only the mean of the votes is known.
        verdict: the raters' verdict, ``(n,)``, see `majority`.
        strength: absolute value of the mean vote, ``(n,)``, 0 to 1.
        orders: the judge's probabilities with a first and with b first, ``(n, 2, 3)``.
        prompt: number of the prompt, ``(n,)``; −1 without a prompt.
        clips: numbers of clips a and b, ``(n, 2)``.
        language: language of the clips, ``(n,)``; None if it is not stated.
        cluster: column of the bootstrap's counts, ``(n,)``.
    """

    outcomes: np.ndarray
    margin: np.ndarray
    signs: np.ndarray
    verdict: np.ndarray
    strength: np.ndarray
    orders: np.ndarray
    prompt: np.ndarray
    clips: np.ndarray
    language: np.ndarray
    cluster: np.ndarray

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def difference(self) -> np.ndarray:
        """p_a − p_b, ``(n,)``."""
        return self.outcomes[:, 0] - self.outcomes[:, 2]

    @property
    def judged(self) -> np.ndarray:
        """The judge's verdict, ``(n,)`` (see `likeliest`)."""
        return likeliest(self.outcomes)

    @property
    def shares(self) -> np.ndarray:
        """The shares of the votes for a, tie and b, ``(n, 3)``; NaN without known votes."""
        counts = vote_counts(self.signs)
        return ratio(counts, counts.sum(axis=1, keepdims=True))

    @property
    def unanimous(self) -> np.ndarray:
        """Whether at least two raters voted, and all for the same clip, ``(n,)``."""
        counts = vote_counts(self.signs)
        votes = counts.sum(axis=1)
        return (votes >= 2) & (np.maximum(counts[:, 0], counts[:, 2]) == votes)

    def take(self, rows: np.ndarray) -> PairArrays:
        """The given rows in that order; rows may repeat."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return PairArrays(**columns)


def likeliest(outcomes: np.ndarray) -> np.ndarray:
    """The verdict with the largest of three values for a, tie, b, ``(…, 3)``; a tie if two values are the largest."""
    a, tie, b = np.moveaxis(outcomes, -1, 0)
    return np.where((a > tie) & (a > b), A, np.where((b > tie) & (b > a), B, TIE))


def vote_counts(signs: np.ndarray) -> np.ndarray:
    """The numbers of votes for a, tie and b, ``(n, 3)``, from votes ``(n, R)``."""
    return np.stack([(signs == verdict).sum(axis=1) for verdict in (A, TIE, B)], axis=1)


def majority(counts: np.ndarray) -> np.ndarray:
    """The verdict with the most votes, ``(n,)``, from `vote_counts`; a tie if two have the most, NaN without votes."""
    return np.where(counts.sum(axis=1) > 0, likeliest(counts), np.nan)


def pair_clusters(predictions: Iterable[PairPrediction]) -> dict[tuple[str, str], int]:
    """Number the clusters of the bootstrap (`pair_cluster`) in alphabetical order."""
    return {key: number for number, key in enumerate(sorted({*map(pair_cluster, predictions)}))}


def pair_cluster(prediction: PairPrediction) -> tuple[str, str]:
    """``("prompt", text)``, or ``("id", id)`` for a pair without a prompt."""
    if prediction.prompt is None:
        return ("id", prediction.id)
    return ("prompt", prediction.prompt)


def pair_arrays(
    predictions: Sequence[PairPrediction], clusters: dict[tuple[str, str], int]
) -> PairArrays:
    """The arrays of one dimension's predictions, in their order.

    Args:
        predictions: the predictions on one dimension.
        clusters: the number of each cluster, see `pair_clusters`.
    """
    blank = ((np.nan,) * 3,) * 2
    signs = _signs(predictions)
    means = np.array([p.mean_vote for p in predictions], dtype=float)  # None becomes NaN
    only_mean = np.array([p.raters.mean_only for p in predictions], dtype=bool)
    prompts = {p.prompt: number for number, p in enumerate(predictions) if p.prompt is not None}
    names = {name for p in predictions for name in (p.clip_a, p.clip_b)}
    clips = {name: number for number, name in enumerate(sorted(names))}
    return PairArrays(
        outcomes=np.array([p.outcomes for p in predictions], dtype=float).reshape(-1, 3),
        margin=np.array([p.p_a - p.p_b if p.margin is None else p.margin for p in predictions]),
        signs=signs,
        verdict=np.where(only_mean, np.sign(means), majority(vote_counts(signs))),
        strength=np.abs(means),
        orders=np.array(
            [(p.order_ab, p.order_ba) if p.order_ab else blank for p in predictions], dtype=float
        ).reshape(-1, 2, 3),
        prompt=np.array(
            [-1 if p.prompt is None else prompts[p.prompt] for p in predictions], dtype=np.intp
        ),
        clips=np.array(
            [(clips[p.clip_a], clips[p.clip_b]) for p in predictions], dtype=np.intp
        ).reshape(-1, 2),
        language=np.array([p.language for p in predictions], dtype=object),
        cluster=np.array([clusters[pair_cluster(p)] for p in predictions], dtype=np.intp),
    )


def _signs(predictions: Sequence[PairPrediction]) -> np.ndarray:
    """The votes as verdicts, ``(n, R)``; a column may mix raters, because no pair metric depends on who voted."""
    width = max((len(p.votes) for p in predictions), default=0)
    table = np.full((len(predictions), width), np.nan)
    for row, p in enumerate(predictions):
        if not p.raters.mean_only:
            table[row, : len(p.votes)] = np.sign(np.array(p.votes, dtype=float))
    return table
