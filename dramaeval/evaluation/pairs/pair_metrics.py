"""Metrics of a judge that compares two clips, against the raters' votes.

The raters' verdict on a pair is the outcome with the most votes (a, tie or b), or a tie if two outcomes have the most.
The judge's verdict is its likeliest outcome. No metric changes if clips a and b of a pair are exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws, Summands, one_draw, ratio
from dramaeval.evaluation.metrics.calibration import BINS, CalibrationBin, bin_of, calibration_bins
from dramaeval.evaluation.metrics.metric import UndefinedError
from dramaeval.evaluation.metrics.moments import of_mean
from dramaeval.evaluation.metrics.pass_fail import auroc_over_draws
from dramaeval.evaluation.pairs.pair_arrays import A, B, PairArrays, likeliest

NO_VOTES = "no pair has a vote"
NO_DECIDED = "the raters prefer neither clip of any pair"
NO_ORDERS = "the judge does not see both clips in one prompt"


class SummedPairMetric(Protocol):
    """A metric that is a function of sums over the pairs of a draw."""

    @property
    def undefined(self) -> str:
        """The reason for messages if the sums give no value."""

    def summands(self, arrays: PairArrays, /) -> Summands:
        """The columns to sum over the pairs, and the metric as a function of the sums."""


@dataclass(frozen=True)
class PairMean:
    """The mean of one number per pair; NaN leaves the pair out."""

    values: Callable[[PairArrays], np.ndarray]
    undefined: str

    def summands(self, arrays: PairArrays) -> Summands:
        """The columns are the numbers and ones."""
        return of_mean(self.values(arrays), arrays.cluster, lambda mean: mean)


def accuracy(arrays: PairArrays) -> np.ndarray:
    """1 if judge and raters have the same verdict (a, tie or b), else 0.

    The mean is acc_eq of Deutsch, Foster & Freitag 2023 (arXiv 2305.14324): if both have a tie, it counts as right.
    """
    return np.where(np.isnan(arrays.verdict), np.nan, arrays.judged == arrays.verdict)


def accuracy_untied(arrays: PairArrays) -> np.ndarray:
    """1 if the judge prefers the same clip as the raters, else 0; ties of the raters are left out.

    SpeechJudge counts in this way (Zhang et al. 2025, arXiv 2511.07931): the label is the majority of the votes, pairs
    with tied votes are not in the benchmark, and the judge has to choose. p_a = p_b counts as wrong; p_tie is not used.
    """
    decided = np.abs(arrays.verdict) == 1
    return np.where(decided, np.sign(arrays.difference) == arrays.verdict, np.nan)


def accuracy_unanimous(arrays: PairArrays) -> np.ndarray:
    """`accuracy_untied` on the pairs with two or more raters who all vote for the same clip, as in SpeechJudge-Eval."""
    return np.where(arrays.unanimous, accuracy_untied(arrays), np.nan)


def brier(arrays: PairArrays) -> np.ndarray:
    """Σₖ (pₖ − oₖ)² over the outcomes a, tie, b, averaged over a pair's votes o (Brier 1950): from 0 to 2.

    This equals Σₖ (pₖ² − 2·pₖ·rₖ) + 1 for the shares r of the votes. Equal probabilities give ⅔.
    """
    p = arrays.outcomes
    return (p * p - 2 * p * arrays.shares).sum(axis=1) + 1


def cross_entropy(arrays: PairArrays) -> np.ndarray:
    """−Σₖ rₖ ln pₖ over the outcomes a, tie, b, with the shares r of a pair's votes. Equal probabilities give ln 3.

    Probabilities below 10⁻¹² count as 10⁻¹², so that a judge that never ties has a finite value on the raters' ties.
    """
    return -(arrays.shares * np.log(np.maximum(arrays.outcomes, 1e-12))).sum(axis=1)


def position_bias(arrays: PairArrays) -> np.ndarray:
    """P(the first clip is better) − P(the second is better), averaged over both orders: from −1 to 1; 0 is no bias."""
    ab, ba = arrays.orders[:, 0], arrays.orders[:, 1]
    return (ab[:, 0] - ab[:, 2] + ba[:, 2] - ba[:, 0]) / 2


def position_consistency(arrays: PairArrays) -> np.ndarray:
    """1 if the verdict is the same in both orders (consistency of Zheng et al. 2023, arXiv 2306.05685), else 0."""
    ab, ba = _verdicts_by_order(arrays)
    return np.where(np.isnan(ab), np.nan, ab == ba)


def first_favoured(arrays: PairArrays) -> np.ndarray:
    """1 if the first clip is better in both orders (Zheng et al. 2023), else 0."""
    ab, ba = _verdicts_by_order(arrays)
    return np.where(np.isnan(ab), np.nan, (ab == A) & (ba == B))


def second_favoured(arrays: PairArrays) -> np.ndarray:
    """1 if the second clip is better in both orders, else 0."""
    ab, ba = _verdicts_by_order(arrays)
    return np.where(np.isnan(ab), np.nan, (ab == B) & (ba == A))


def _verdicts_by_order(arrays: PairArrays) -> tuple[np.ndarray, np.ndarray]:
    verdicts = np.where(np.isnan(arrays.orders[:, :, 0]), np.nan, likeliest(arrays.orders))
    return verdicts[:, 0], verdicts[:, 1]


class PairCalibrationError:
    """ECE of the probability that a clip wins: Σ_b |Σ_{i∈b} (pᵢ − rᵢ)| / 2n (Naeini et al. 2015).

    Each pair gives two points: p_a with the share r of votes for a, and p_b with that for b. There are ten bins b of
    equal width.
    """

    undefined = NO_VOTES

    def summands(self, arrays: PairArrays) -> Summands:
        """The gaps p − r in each bin, and the number of points."""
        stated, shares, rows = _win_points(arrays)
        columns = np.zeros((len(stated), BINS + 1))
        columns[:, 0] = 1
        columns[np.arange(len(stated)), 1 + bin_of(stated)] = stated - shares

        def error(sums: np.ndarray) -> np.ndarray:
            return ratio(np.abs(sums[:, 1:]).sum(axis=1), sums[:, 0])

        return Summands(cluster=arrays.cluster[rows], columns=columns, value=error)


def pair_calibration_curve(arrays: PairArrays) -> list[CalibrationBin]:
    """The bins of `PairCalibrationError`, without empty bins."""
    stated, shares, _ = _win_points(arrays)
    return calibration_bins(stated, shares)


def _win_points(arrays: PairArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_a and p_b of the m pairs with votes, the shares of the votes for a and b, and the rows: each ``(2m,)``."""
    shares = arrays.shares
    rows = np.flatnonzero(~np.isnan(shares[:, 0]))
    stated = np.concatenate([arrays.outcomes[rows, 0], arrays.outcomes[rows, 2]])
    return stated, np.concatenate([shares[rows, 0], shares[rows, 2]]), np.concatenate([rows, rows])


@dataclass(frozen=True)
class IntransitiveTriples:
    """Share of cyclic triples, a > b > c > a, among the triples of a prompt's clips (Kendall & Babington Smith 1940).

    A triple counts if each of its three pairs has a preference. A judge that scores clips singly has no cycles.
    """

    preference: Callable[[PairArrays], np.ndarray]
    undefined: str = "no prompt has three clips with a preference in each pair"

    def summands(self, arrays: PairArrays) -> Summands:
        """The columns are the numbers of cyclic triples and of all triples of each prompt."""
        counts, cluster = _cyclic_triples(arrays, self.preference(arrays))

        return Summands(cluster=cluster, columns=counts, value=lambda sums: ratio(*sums.T))


def _cyclic_triples(arrays: PairArrays, preference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count triples by prompt.

    Let W[i, j] = 1 if clip i is preferred to clip j. The number of cycles through i is Σⱼ (W·W)ᵢⱼ Wⱼᵢ; the number of
    triples is half of the same sum for the symmetric W + Wᵀ. Each triple is counted at its three clips.

    Args:
        arrays: the pairs of one dimension. Pairs without a prompt form no triples.
        preference: the preference in each pair, ``(n,)``: positive for a, negative for b, 0 for none. If two clips are
            compared several times, the preferences are added.

    Returns:
        the numbers of cyclic triples and of all triples, ``(prompts, 2)``, and the cluster of each prompt,
        ``(prompts,)``.
    """
    rows = np.flatnonzero(arrays.prompt >= 0)
    if not len(rows):
        return np.zeros((0, 2)), np.zeros(0, dtype=np.intp)
    prompts, first, prompt = np.unique(arrays.prompt[rows], return_index=True, return_inverse=True)
    # A clip of two prompts is two nodes, so that every triple is within one prompt.
    ends = np.stack([np.column_stack([prompt, clip]) for clip in arrays.clips[rows].T])
    nodes, node = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
    size = (len(nodes), len(nodes))
    net = scipy.sparse.coo_array((preference[rows], tuple(node.reshape(2, -1))), shape=size).tocsr()
    wins = ((net - net.T) > 0).astype(np.int64)
    pairs = wins + wins.T
    cycles = (wins @ wins).multiply(wins.T).sum(axis=1)
    triples = (pairs @ pairs).multiply(pairs).sum(axis=1) // 2
    counts = np.zeros((len(prompts), 2))
    np.add.at(counts, nodes[:, 0], np.column_stack([cycles, triples]))
    return counts / 3, arrays.cluster[rows[first]]


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve of two groups of margins: P(x > y) + ½ P(x = y) (Hanley & McNeil 1982).

    Attributes:
        groups: returns margins and rows of the positive group, then margins and rows of the negative group.
        undefined: the reason for messages if a group is empty.
    """

    groups: Callable[[PairArrays], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    undefined: str

    def value(self, arrays: PairArrays) -> float:
        """The area; NaN if a group is empty."""
        return float(self.over_draws(arrays, one_draw(arrays.cluster))[0])

    def over_draws(self, arrays: PairArrays, draws: BootstrapDraws) -> np.ndarray:
        """The area in every draw, ``(draws,)``; NaN if a group is empty in the draw. The cost is draws × values."""
        positive, first, negative, second = self.groups(arrays)
        cluster = arrays.cluster
        return auroc_over_draws(positive, cluster[first], negative, cluster[second], draws)


def _better_or_worse(arrays: PairArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Margins towards and away from the raters' clip: the better-worse analysis of Krasula et al. 2016 (QoMEX).

    Each pair counts in both orders, so that the area does not depend on which clip is called a.
    """
    rows = np.flatnonzero(np.abs(arrays.verdict) == 1)
    towards = arrays.margin[rows] * arrays.verdict[rows]
    return towards, rows, -towards, rows


def _different_or_tied(arrays: PairArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Absolute margins of decided pairs and of ties: the different-similar analysis of Krasula et al. 2016."""
    decided = np.flatnonzero(np.abs(arrays.verdict) == 1)
    tied = np.flatnonzero(arrays.verdict == 0)
    size = np.abs(arrays.margin)
    return size[decided], decided, size[tied], tied


PairMetric = SummedPairMetric | Auroc

PAIR_METRICS: Mapping[str, PairMetric] = {
    "accuracy": PairMean(accuracy, NO_VOTES),
    "accuracy_untied": PairMean(accuracy_untied, NO_DECIDED),
    "accuracy_unanimous": PairMean(
        accuracy_unanimous, "no pair has two raters who all vote for the same clip"
    ),
    "auroc": Auroc(_better_or_worse, NO_DECIDED),
    "auroc_ties": Auroc(_different_or_tied, "the raters tie no pair, or every pair"),
    "ece": PairCalibrationError(),
    "brier": PairMean(brier, NO_VOTES),
    "cross_entropy": PairMean(cross_entropy, NO_VOTES),
    "position_bias": PairMean(position_bias, NO_ORDERS),
    "position_consistency": PairMean(position_consistency, NO_ORDERS),
    "first_favoured": PairMean(first_favoured, NO_ORDERS),
    "second_favoured": PairMean(second_favoured, NO_ORDERS),
    "intransitive": IntransitiveTriples(lambda arrays: arrays.difference),
    "intransitive_people": IntransitiveTriples(lambda arrays: np.nan_to_num(arrays.verdict)),
}
"""The standard metrics by name."""


def pair_value(metric: PairMetric, arrays: PairArrays) -> float:
    """The value of a metric.

    Raises:
        UndefinedError: there is no value; the message is the reason.
    """
    value = metric.value(arrays) if isinstance(metric, Auroc) else metric.summands(arrays).whole
    if np.isnan(value):
        raise UndefinedError(metric.undefined)
    return value


def pair_values_over_draws(
    metrics: Mapping[str, PairMetric], arrays: PairArrays, draws: BootstrapDraws
) -> dict[str, np.ndarray]:
    """Each metric in every draw, ``(draws,)``; NaN where it is undefined."""
    summed = {
        name: metric.summands(arrays)
        for name, metric in metrics.items()
        if not isinstance(metric, Auroc)
    }
    in_draws = dict(zip(summed, draws.values(list(summed.values())), strict=True))
    for name, metric in metrics.items():
        if isinstance(metric, Auroc):
            in_draws[name] = metric.over_draws(arrays, draws)
    return in_draws
