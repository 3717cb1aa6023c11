"""Ranks systems by comparisons: Bradley-Terry ratings, intervals, and tests of the differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter
from typing import Any

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import draws_for_intervals, interval
from dramaeval.evaluation.comparison import adjust_p_values
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.davidson import components, fit, is_linked
from dramaeval.evaluation.pairs.pair_arrays import pair_cluster, pair_clusters

DECIMALS = 7
"""Decimals of a rating in logits that decide whether two systems are tied; the fit is more exact (`CONVERGED`)."""

HALF_WIN = 0.5
"""Wins added to both systems of every compared pair if the likelihood has no maximum."""

Outcome = Callable[[PairPrediction], Sequence[float]]
"""Takes a prediction; returns the numbers of wins of clip a, ties, and wins of clip b."""


class NoRankingError(ValueError):
    """These pairs do not rank systems; the message is the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparisons:
    """The comparisons of pairs of systems.

    Attributes:
        names: the systems.
        first: index of the first system of each compared pair of systems, ``(pairs,)``.
        second: index of the second system.
        by_cluster: wins of the first system, ties, and wins of the second, sparse ``(clusters, 3 × pairs)``.
    """

    names: Sequence[str]
    first: np.ndarray
    second: np.ndarray
    by_cluster: scipy.sparse.csr_array

    def counts(self, weights: np.ndarray, prior: float = 0.0) -> np.ndarray:
        """The ``counts`` of `fit`, ``(samples, 3, pairs)``, for samples of clusters, ``(samples, clusters)``."""
        counts = np.asarray(weights @ self.by_cluster).reshape(len(weights), 3, len(self.first))
        counts[:, [0, 2]] += prior
        return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Ratings:
    """Ratings of systems ``(systems,)``, and in every draw ``(draws, systems)``; log ν; whether half wins are added."""

    ratings: np.ndarray
    in_draws: np.ndarray | None
    log_nu: float
    half_wins: bool


#: The judge's probabilities: one comparison, divided among the outcomes.
judge_outcome: Outcome = attrgetter("outcomes")


def people_outcome(prediction: PairPrediction) -> Sequence[float]:
    """The numbers of votes for a, tie and b; zeros if only the mean of the votes is known."""
    votes = [] if prediction.raters.mean_only else prediction.votes
    cast = [vote for vote in votes if vote is not None]
    ahead, behind = sum(vote > 0 for vote in cast), sum(vote < 0 for vote in cast)
    return ahead, len(cast) - ahead - behind, behind


def rank_pairs(
    predictions: Sequence[PairPrediction], *, seed: int, draws: int, level: float
) -> dict[str, Any]:
    """Rank systems by the judge's comparisons, and for comparison by the raters' votes and by the judge's scores.

    The ratings are those of Davidson's model (see `davidson.fit`) over all dimensions, in logits with mean 0. The
    bootstrap draws prompts. The difference of two systems is that of their ratings. Its p is 2·min(P(d* ≤ 0),
    P(d* ≥ 0)) over the draws, each probability as (1 + count) / (1 + draws), adjusted by Benjamini & Yekutieli over all
    pairs of systems. A difference is ``real`` if the adjusted p is at most 1 − ``level``.

    If a system wins or loses every comparison, the likelihood has no finite maximum. Half a win is then added to both
    systems of every compared pair, and ``half_wins`` is true.

    Args:
        predictions: the predictions of one judge; pairs without two different systems are left out.
        seed: seed of the draws.
        draws: number of bootstrap draws; 0 for no intervals.
        level: confidence level of the intervals.

    Returns:
        ``systems`` from best to worst (``rank``, which systems with the same rating share, ``ranks`` interval,
        ``rating``, ``interval``, ``people`` and ``people_interval`` (rating by the votes), ``score`` (by the margins),
        ``comparisons``, ``prompts``, ``dimensions``), ``pairs`` of systems, ``people_order`` and ``score_order``
        (Kendall, Spearman and the number of systems, or ``undefined``), ``left_out`` and ``bootstrap``.

    Raises:
        NoRankingError: there are fewer than two systems, comparisons do not link all systems, or all are ties.
    """
    used = [p for p in predictions if p.system_a and p.system_b and p.system_a != p.system_b]
    comparisons = _comparisons(used, judge_outcome)
    prompts = comparisons.by_cluster.shape[0]
    drawn = draws_for_intervals(prompts, draws, seed)
    weights = None if drawn is None else drawn.counts.astype(float)
    judge = _rate(comparisons, weights)
    names = comparisons.names
    people, why_no_people = _people(used, names, weights)
    scores = _score_ratings(used, names)
    dimensions = _by_dimension(used)
    order = np.argsort(-judge.ratings, kind="stable").tolist()
    ranks = None if judge.in_draws is None else _ranks(judge.in_draws)
    (whole,) = _ranks(judge.ratings[None])
    systems = {
        names[row]: {
            "rank": int(whole[row]),
            "rating": float(judge.ratings[row]),
            "interval": _column(judge.in_draws, row, level),
            "ranks": _column(ranks, row, level),
            "people": None if people is None else float(people.ratings[row]),
            "people_interval": None if people is None else _column(people.in_draws, row, level),
            "score": None if scores is None else float(scores[row]),
            **_numbers(used, names[row]),
            "dimensions": {key: rated.get(names[row]) for key, rated in dimensions.items()},
        }
        for row in order
    }
    return {
        "kind": "pairs",
        "systems": systems,
        "pairs": _differences(comparisons, judge, order, level),
        "prompts": prompts,
        "comparisons": len(used),
        "half_wins": judge.half_wins,
        "people_half_wins": None if people is None else people.half_wins,
        "log_nu": judge.log_nu if np.isfinite(judge.log_nu) else None,
        "people_order": _agreement(
            judge.ratings, None if people is None else people.ratings, why_no_people
        ),
        "score_order": _agreement(
            judge.ratings, scores, "the judge does not score each clip by itself"
        ),
        "left_out": {
            "without_two_systems": sum(not (p.system_a and p.system_b) for p in predictions),
            "same_system": sum(bool(p.system_a) and p.system_a == p.system_b for p in predictions),
        },
        "bootstrap": {"draws": 0 if weights is None else draws, "level": level, "seed": seed},
    }


def _comparisons(
    predictions: Sequence[PairPrediction], outcome: Outcome, names: Sequence[str] | None = None
) -> _Comparisons:
    """Count the outcomes by pair of systems and cluster.

    Raises:
        NoRankingError: there are fewer than two systems.
    """
    if names is None:
        names = sorted({name for p in predictions for name in (p.system_a, p.system_b) if name})
    if len(names) < 2:
        raise NoRankingError(
            "no pair has clips of two different systems: give the records system_a and system_b"
        )
    number = {name: row for row, name in enumerate(names)}
    clusters = pair_clusters(predictions)
    compared: dict[tuple[int, int], int] = {}
    entries: list[tuple[float, int, int, int]] = []
    for p in predictions:
        a, b = number[str(p.system_a)], number[str(p.system_b)]
        counted = tuple(outcome(p)) if a < b else tuple(outcome(p))[::-1]
        pair = compared.setdefault((min(a, b), max(a, b)), len(compared))
        cluster = clusters[pair_cluster(p)]
        entries += [(value, cluster, kind, pair) for kind, value in enumerate(counted)]
    value, *place = np.array(entries, dtype=float).reshape(-1, 4).T
    row, kinds, column = (index.astype(np.intp) for index in place)
    shape = (len(clusters), 3 * len(compared))
    first, second = np.array(list(compared), dtype=np.intp).reshape(-1, 2).T
    return _Comparisons(
        names=names,
        first=first,
        second=second,
        by_cluster=scipy.sparse.coo_array(
            (value, (row, kinds * len(compared) + column)), shape=shape
        ).tocsr(),
    )


def _rate(comparisons: _Comparisons, weights: np.ndarray | None) -> Ratings:
    """Compute the ratings from all prompts and, with ``weights``, in every draw.

    Raises:
        NoRankingError: the comparisons do not link all systems, or are all ties.
    """
    names, first, second = comparisons.names, comparisons.first, comparisons.second
    every = np.ones((1, comparisons.by_cluster.shape[0]))
    counts = comparisons.counts(every)
    groups = components(counts[0], first, second, len(names), "weak")
    if len(groups) > 1:
        listed = "; ".join(", ".join(names[row] for row in group[:6]) for group in groups[:6])
        raise NoRankingError(
            f"the systems fall into {len(groups)} groups that no comparison links: {listed}"
        )
    if not counts[0, [0, 2]].sum():
        raise NoRankingError("every comparison is a tie")
    half_wins = not is_linked(counts[0], first, second, len(names))
    prior = HALF_WIN if half_wins else 0.0
    whole = fit(comparisons.counts(every, prior), first, second, len(names))
    in_draws = None
    if weights is not None:
        in_draws = fit(comparisons.counts(weights, prior), first, second, len(names)).ratings
    return Ratings(
        ratings=whole.ratings[0],
        in_draws=in_draws,
        log_nu=float(whole.log_nu[0]),
        half_wins=half_wins,
    )


def _people(
    predictions: Sequence[PairPrediction], names: Sequence[str], weights: np.ndarray | None
) -> tuple[Ratings | None, str]:
    """Compute the ratings by the votes; None with the reason if there are none."""
    try:
        return _rate(_comparisons(predictions, people_outcome, names), weights), ""
    except NoRankingError as error:
        voted = any(sum(people_outcome(p)) for p in predictions)
        return None, f"by the votes, {error}" if voted else "no pair has a known vote"


def _score_ratings(
    predictions: Sequence[PairPrediction], names: Sequence[str]
) -> np.ndarray | None:
    """Scores s of the systems, ``(systems,)``, with mean 0: the least squares of s_a − s_b = margin over all pairs.

    Jiang et al. 2011 (arXiv 0811.1067), eq. 5. If every system has every prompt, these are the mean scores, up to a
    constant. None if a pair has no margin.
    """
    if any(p.margin is None for p in predictions):
        return None
    number = {name: row for row, name in enumerate(names)}
    laplacian, right = np.zeros((len(names), len(names))), np.zeros(len(names))
    for p in predictions:
        a, b, margin = number[str(p.system_a)], number[str(p.system_b)], float(p.margin or 0)
        laplacian[[a, b], [a, b]] += 1
        laplacian[[a, b], [b, a]] -= 1
        right[a] += margin
        right[b] -= margin
    return np.linalg.solve(laplacian + 1, right)


def _by_dimension(predictions: Sequence[PairPrediction]) -> dict[str, dict[str, float]]:
    """The ratings on each dimension by system; empty if the pairs of the dimension do not rank systems."""
    rated: dict[str, dict[str, float]] = {}
    for key in dict.fromkeys(p.dimension for p in predictions):
        try:
            comparisons = _comparisons(
                [p for p in predictions if p.dimension == key], judge_outcome
            )
            ratings = _rate(comparisons, None).ratings.tolist()
            rated[key] = dict(zip(comparisons.names, ratings, strict=True))
        except NoRankingError:
            rated[key] = {}
    return rated


def _numbers(predictions: Sequence[PairPrediction], name: str) -> dict[str, Any]:
    compared = [p for p in predictions if name in (p.system_a, p.system_b)]
    return {"comparisons": len(compared), "prompts": len({pair_cluster(p) for p in compared})}


def _ranks(in_draws: np.ndarray) -> np.ndarray:
    """Rank of each system in each draw, 1 for the best; NaN in a draw without ratings.

    Systems with the same rating share the better rank; ratings that differ less than the fit is exact are the same.
    """
    rounded = np.round(in_draws, DECIMALS)
    ranks = scipy.stats.rankdata(-rounded, method="min", axis=1).astype(float)
    ranks[np.isnan(in_draws).any(axis=1)] = np.nan
    return ranks


def _column(in_draws: np.ndarray | None, row: int, level: float) -> list[float] | None:
    return interval(None if in_draws is None else in_draws[:, row], level)


def _differences(
    comparisons: _Comparisons, judge: Ratings, order: Sequence[int], level: float
) -> list[dict[str, Any]]:
    """Compare every two systems, in the order of the ranking."""
    names = comparisons.names
    compared = set(zip(comparisons.first.tolist(), comparisons.second.tolist(), strict=True))
    pairs: list[dict[str, Any]] = []
    for better, worse in combinations(order, 2):
        gaps = None
        if judge.in_draws is not None:
            gaps = np.round(judge.in_draws[:, better] - judge.in_draws[:, worse], DECIMALS)
        bounds = interval(gaps, level)
        pairs.append(
            {
                "better": names[better],
                "worse": names[worse],
                "difference": float(judge.ratings[better] - judge.ratings[worse]),
                "interval": bounds,
                "p": None if gaps is None or bounds is None else _two_sided(gaps),
                "p_adjusted": None,
                "real": None,
                "compared": (min(better, worse), max(better, worse)) in compared,
            }
        )
    for pair in adjust_p_values(pairs):
        pair["real"] = bool(pair["p_adjusted"] <= 1 - level)
    return pairs


def _two_sided(gaps: np.ndarray) -> float:
    """2·min(P(d* ≤ 0), P(d* ≥ 0)) over the draws that have a difference."""
    gaps = gaps[~np.isnan(gaps)]
    least = min((gaps <= 0).sum(), (gaps >= 0).sum())
    return float(min(1.0, 2 * (1 + least) / (1 + len(gaps))))


def _agreement(ratings: np.ndarray, other: np.ndarray | None, why: str) -> Mapping[str, Any]:
    """Kendall's tau-b and Spearman's rho of two ratings of at least three systems, or why they are undefined."""
    if other is None:
        return {"undefined": why}
    if len(ratings) < 3:
        return {"undefined": "two systems have no rank correlation"}
    kendall = float(scipy.stats.kendalltau(ratings, other).statistic)
    spearman = float(scipy.stats.spearmanr(ratings, other).statistic)
    if np.isnan(kendall):
        return {"undefined": "the systems are all tied"}
    return {"kendall": kendall, "spearman": spearman, "systems": len(ratings)}
