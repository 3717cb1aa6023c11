"""Figures of GRPO by dimension, gathered between two logged steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from dramaeval.training.rewards.completion import Completion

#: A spread of rewards below this is none.
NO_SPREAD = 1e-6


class DimensionMetrics:
    """Collects; `summary` says it in figures. Weights are 1 for samples, and probabilities for answers that are
    enumerated."""

    def __init__(self) -> None:
        self.groups: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        self.scores: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        self.tokens: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self.groups or self.tokens)

    def add_group(
        self, completions: Sequence[Completion], rewards: Sequence[float], weights: Sequence[float]
    ) -> None:
        """The completions of a question with their weighted rewards."""
        share = np.asarray(weights, dtype=np.float64) / sum(weights)
        mean = float(share @ np.asarray(rewards))
        spread = float(np.sqrt(share @ (np.asarray(rewards) - mean) ** 2))
        length = float(share @ np.asarray([one.tokens for one in completions]))
        for given in completions[0].given:
            self.groups[given.dimension].append((mean, spread, length))
        for one, weight in zip(completions, share.tolist(), strict=True):
            for given in one.given:
                if given.score is not None and given.ratings:
                    self.scores[given.dimension].append((given.score, given.mean_rating, weight))

    def add_tokens(
        self, dimensions: Iterable[str], kl: float, entropy: float, clipped: float, weight: float
    ) -> None:
        """What a pass measured over the tokens of one completion, as means."""
        for key in dimensions:
            self.tokens[key].append((kl, entropy, clipped, weight))

    def merged(self, others: Iterable[DimensionMetrics]) -> DimensionMetrics:
        """All of them together."""
        whole = DimensionMetrics()
        for one in others:
            for mine, theirs in (
                (whole.groups, one.groups),
                (whole.scores, one.scores),
                (whole.tokens, one.tokens),
            ):
                for key, values in theirs.items():
                    mine[key].extend(values)  # type: ignore[arg-type]  # of a kind in each pair
        return whole

    def summary(self) -> dict[str, float]:
        """The figures by name, and the mean correlation over the dimensions that have one."""
        found: dict[str, float] = {}
        for key, groups in self.groups.items():
            means, spreads, lengths = np.asarray(groups).T
            found[f"{key}/reward"] = float(means.mean())
            found[f"{key}/reward_spread"] = float(spreads.mean())
            found[f"{key}/no_spread"] = float((spreads < NO_SPREAD).mean())
            found[f"{key}/length"] = float(lengths.mean())
        for key, tokens in self.tokens.items():
            values = np.asarray(tokens)
            weights = values[:, 3] / max(values[:, 3].sum(), 1e-12)
            for at, name in enumerate(("kl", "entropy", "clipped")):
                found[f"{key}/{name}"] = float(weights @ values[:, at])
        correlations = {key: _pearson(np.asarray(one)) for key, one in self.scores.items()}
        defined = {key: one for key, one in correlations.items() if one is not None}
        found |= {f"{key}/pearson": one for key, one in defined.items()}
        if defined:
            found["pearson"] = float(np.mean(list(defined.values())))
        return found


def _pearson(rows: np.ndarray) -> float | None:
    """Weighted correlation of columns 0 and 1; None where one of them does not vary."""
    written, rated, weight = rows.T
    if len(set(rated.tolist())) < 2 or len(set(written.tolist())) < 2:
        return None
    weight = weight / weight.sum()
    x, y = written - weight @ written, rated - weight @ rated
    norm = np.sqrt((weight @ x**2) * (weight @ y**2))
    return float((weight * x) @ y / norm) if norm > 0 else None
