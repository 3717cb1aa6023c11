"""Ranks systems by a judge: means over prompts, intervals, and tests of the differences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from dramaeval.data.problems import counted
from dramaeval.evaluation.bootstrap import (
    CHUNK_CELLS,
    LEAST_CLUSTERS,
    bootstrap_draws,
    interval,
    ratio,
)
from dramaeval.evaluation.comparison import adjust_p_values
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.systems import cell_means


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scores:
    """The scores of systems on prompts, which are compared on clips of the same prompt.

    Attributes:
        scale: lowest and highest score: 0 and 1 if the dimensions have different scales.
        systems: names of the systems that have a scored clip.
        prompts: the prompts.
        judge: mean of the expected scores over dimensions, then over clips, ``[systems, prompts]``; NaN without a clip.
        people: the same of the mean ratings; clips without a rating on a dimension are left out.
        clips: number of scored clips by system.
        unscored: number of clips that are not scored on all dimensions, by system.
    """

    scale: tuple[float, float]
    systems: Sequence[str]
    prompts: Sequence[str]
    judge: np.ndarray
    people: np.ndarray
    clips: Counter[str]
    unscored: Counter[str]


def rank(
    predictions: Sequence[Prediction],
    prompt_of: Mapping[str, str],
    *,
    seed: int,
    draws: int,
    level: float,
) -> dict[str, Any]:
    """Rank the systems by their mean score: first over dimensions, then over the clips of a prompt, then over prompts.

    The bootstrap draws prompts, the same for all systems. Two systems are compared on the prompts that both
    have: the mean difference with its interval, and a two-sided sign-flip test over prompts,
    p = (1 + #{|d*| ≥ |d|}) / (1 + draws), adjusted by Benjamini & Yekutieli over all pairs. A difference is
    ``real`` where the adjusted p is at most 1 − ``level``.

    Args:
        predictions: the predictions of one judge on all clips.
        prompt_of: the prompt of each record, by id.
        seed: seed of the draws.
        draws: number of draws, for the bootstrap and for the test.
        level: confidence level of the intervals.

    Returns:
        ``scale`` (lowest and highest score), ``systems`` from best to worst (``score``, ``interval``, ``rank``, which
        systems with the same score share, ``ranks`` interval, ``prompts``, ``clips``, ``unscored``, ``people``,
        ``dimensions``), ``pairs``, and ``left_out`` with numbers of clips. Intervals and p are None with fewer than 5
        prompts.

    Raises:
        ValueError: fewer than two systems have a scored clip.
    """
    scores = _scores(predictions, prompt_of)
    names, table, people = scores.systems, scores.judge, scores.people
    if len(names) < 2:
        raise ValueError(_too_few_systems(scores))
    enough = len(scores.prompts) >= LEAST_CLUSTERS and draws > 0
    resampled = _resampled(table, draws, seed) if enough else None
    order = np.argsort(-np.nanmean(table, axis=1), kind="stable").tolist()
    ranks = None if resampled is None else _ranks(resampled)
    (whole,) = _ranks(np.nanmean(table, axis=1)[None])
    by_dimension = _dimension_means(predictions)
    systems = {}
    for row in order:
        name, rated = names[row], people[row][~np.isnan(people[row])]
        systems[name] = {
            "rank": int(whole[row]),
            "score": float(np.nanmean(table[row])),
            "interval": interval(None if resampled is None else resampled[:, row], level),
            "ranks": interval(None if ranks is None else ranks[:, row], level),
            "prompts": int((~np.isnan(table[row])).sum()),
            "clips": scores.clips[name],
            "unscored": scores.unscored[name],
            "people": float(rated.mean()) if len(rated) else None,
            "dimensions": by_dimension[name],
        }
    return {
        "scale": list(scores.scale),
        "prompts": len(scores.prompts),
        "systems": systems,
        "pairs": _pairs([names[row] for row in order], table[order], draws, seed, level, enough),
        "left_out": {
            "clips_without_system": len({p.id for p in predictions if not p.system}),
            "clips_unscored": scores.unscored.total(),
        },
        "people_order": _agreement(systems),
        "bootstrap": {"draws": draws if enough else 0, "level": level, "seed": seed},
    }


def _too_few_systems(scores: _Scores) -> str:
    """How many clips of how many systems are scored, and what to do."""
    scored, every = scores.clips, scores.clips + scores.unscored
    return (
        f"{scored.total():,} of {counted(every.total(), 'clip')} are scored on every dimension, of {len(scored)} of "
        f"{counted(len(every), 'system')}, but a ranking needs scored clips of two systems: "
        '"state" in predictions.jsonl says why a clip has no score; correct these clips, or give more'
    )


def scores_by_prompt(
    predictions: Sequence[Prediction], prompt_of: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """The score of each system on each prompt, as in `rank`; prompts from best to worst by their mean.

    If some prompts have clips of every system, only these prompts are returned.
    """
    scores = _scores(predictions, prompt_of)
    table = scores.judge
    complete = ~np.isnan(table).any(axis=0)
    order = np.argsort(-np.nanmean(table, axis=0), kind="stable").tolist()
    return {
        scores.prompts[column]: {
            name: score
            for name, score in zip(scores.systems, table[:, column].tolist(), strict=True)
            if not np.isnan(score)
        }
        for column in order
        if complete[column] or not complete.any()
    }


def _scores(predictions: Sequence[Prediction], prompt_of: Mapping[str, str]) -> _Scores:
    """The scores of the clips that have a system and are scored on all dimensions."""
    scales = {(prediction.scale[0], prediction.scale[-1]) for prediction in predictions}
    scale = next(iter(scales)) if len(scales) == 1 else (0.0, 1.0)

    def value(prediction: Prediction, score: float | None) -> float:
        if score is None:
            return np.nan
        low, high = prediction.scale[0], prediction.scale[-1]
        return score if len(scales) == 1 else (score - low) / (high - low)

    by_clip: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        if prediction.system:
            by_clip.setdefault(prediction.id, []).append(prediction)
    scored = {name: clip for name, clip in by_clip.items() if all(p.scored for p in clip)}
    system_of = {name: str(clip[0].system) for name, clip in by_clip.items()}
    row = {name: at for at, name in enumerate(sorted({system_of[name] for name in scored}))}
    column = {name: at for at, name in enumerate(sorted({prompt_of[name] for name in scored}))}
    cell = np.array(
        [row[system_of[name]] * len(column) + column[prompt_of[name]] for name in scored],
        dtype=np.intp,
    )

    def table(clips: list[list[float]]) -> np.ndarray:
        values = np.array([np.mean(clip) for clip in clips])
        defined = ~np.isnan(values)
        return cell_means(values[defined], cell[defined], (len(row), len(column)))

    return _Scores(
        scale=scale,
        systems=list(row),
        prompts=list(column),
        judge=table([[value(p, p.expected) for p in clip] for clip in scored.values()]),
        people=table([[value(p, p.mean_rating) for p in clip] for clip in scored.values()]),
        clips=Counter(system_of[name] for name in scored),
        unscored=Counter(system_of[name] for name in by_clip.keys() - scored.keys()),
    )


def _resampled(table: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Every system's mean in every draw of prompts, ``[draws, systems]``."""
    counts = bootstrap_draws(table.shape[1], draws, seed).counts.astype(float)
    present = ~np.isnan(table)
    return ratio(counts @ np.where(present, table, 0).T, counts @ present.T)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each system in each row, ``[draws, systems]``, 1 for the best; a system without a score is last.

    Systems with the same score share the better rank; scores that differ only by rounding are the same.
    """
    scores = np.round(np.nan_to_num(scores, nan=-np.inf), 9)
    return scipy.stats.rankdata(-scores, method="min", axis=1)


def _pairs(
    names: Sequence[str], table: np.ndarray, draws: int, seed: int, level: float, enough: bool
) -> list[dict[str, Any]]:
    """Compare every pair of systems on the prompts that both have."""
    tests = _PairTests(draws, seed, level) if enough else None
    pairs: list[dict[str, Any]] = []
    for first in range(len(names) - 1):
        gaps = table[first] - table[first + 1 :]
        common = ~np.isnan(gaps)
        new = np.concatenate([[True], (common[1:] != common[:-1]).any(axis=1)])
        # Adjacent systems with the same common prompts are computed together.
        for rows in np.split(np.arange(len(gaps)), np.flatnonzero(new)[1:]):
            others = [names[first + 1 + row] for row in rows]
            pairs += _compared(names[first], others, gaps[rows][:, common[rows[0]]], tests)
    for pair in adjust_p_values(pairs):
        pair["real"] = bool(pair["p_adjusted"] <= 1 - level)
    return pairs


def _compared(
    name: str, others: Sequence[str], gaps: np.ndarray, tests: _PairTests | None
) -> list[dict[str, Any]]:
    """Compare a system with others, from the differences on their common prompts, ``[others, prompts]``."""
    prompts = gaps.shape[1]
    means = gaps.mean(axis=1) if prompts else np.zeros(len(gaps))
    # The order on the common prompts may be the reverse of the order on all prompts.
    reversed_order = means < 0
    gaps = np.where(reversed_order[:, None], -gaps, gaps)
    bounds: Sequence[list[float] | None] = [None] * len(others)
    p: Sequence[float | None] = [None] * len(others)
    if tests is not None and prompts >= LEAST_CLUSTERS:
        bounds, p = tests.intervals(gaps), tests.p_values(gaps)
    return [
        {
            "better": other if reversed_order[row] else name,
            "worse": name if reversed_order[row] else other,
            "prompts": prompts,
            "difference": abs(float(means[row])) if prompts else None,
            "interval": bounds[row],
            "p": p[row],
            "p_adjusted": None,
            "real": None,
        }
        for row, other in enumerate(others)
    ]


class _PairTests:
    """Computes intervals and tests of mean differences over prompts, for many pairs at a time."""

    def __init__(self, draws: int, seed: int, level: float) -> None:
        self.draws = draws
        self.seed = seed
        self.level = level
        self._generator = np.random.default_rng([seed, 4])
        self._counts: dict[int, np.ndarray] = {}

    def intervals(self, gaps: np.ndarray) -> list[list[float] | None]:
        """The bootstrap interval of each row's mean, from ``[pairs, prompts]``."""
        prompts = gaps.shape[1]
        if prompts not in self._counts:
            drawn = bootstrap_draws(prompts, self.draws, self.seed)
            self._counts[prompts] = drawn.counts.astype(float)
        ends = [(1 - self.level) / 2, (1 + self.level) / 2]
        bounds: list[list[float] | None] = []
        for rows in self._chunks(gaps, 1):
            means = gaps[rows] @ self._counts[prompts].T / prompts
            bounds += np.quantile(means, ends, axis=1).T.tolist()
        return bounds

    def p_values(self, gaps: np.ndarray) -> list[float | None]:
        """The two-sided sign-flip test of each row's mean, from ``[pairs, prompts]``."""
        p: list[float | None] = []
        for rows in self._chunks(gaps, gaps.shape[1]):
            chunk = gaps[rows]
            bits = self._generator.integers(
                0, 2, size=(len(chunk), self.draws, chunk.shape[1]), dtype=np.uint32
            )
            signs = 2.0 * bits - 1.0
            flipped = np.abs(np.matmul(signs, chunk[:, :, None])[:, :, 0]) / chunk.shape[1]
            observed = np.abs(chunk.mean(axis=1))
            # The tolerance also counts flips that differ from the observed difference only by rounding.
            as_large = flipped >= (observed * (1 - 1e-9) - 1e-12)[:, None]
            p += ((1 + as_large.sum(axis=1)) / (1 + self.draws)).tolist()
        return p

    def _chunks(self, gaps: np.ndarray, width: int) -> Iterator[slice]:
        step = max(1, CHUNK_CELLS // (self.draws * width))
        for start in range(0, len(gaps), step):
            yield slice(start, start + step)


def _dimension_means(predictions: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """Each system's mean expected score on each dimension, over its scored clips."""
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for prediction in predictions:
        if prediction.system and prediction.expected is not None:
            values[prediction.system][prediction.dimension].append(prediction.expected)
    return {
        system: {key: float(np.mean(scores)) for key, scores in scores_by_key.items()}
        for system, scores_by_key in values.items()
    }


def _agreement(systems: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Kendall's tau-b between the means of the judge and of people; None if a system has no ratings."""
    rated = [system["people"] for system in systems.values()]
    if any(value is None for value in rated) or len(rated) < 3:
        return None
    tau = scipy.stats.kendalltau([system["score"] for system in systems.values()], rated).statistic
    return None if np.isnan(tau) else {"kendall": float(tau), "systems": len(rated)}
