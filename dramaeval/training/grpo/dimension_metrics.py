"""Figures of GRPO by dimension, collected between two logged steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dramaeval.training.grpo.policy_scorer import TokenScores
from dramaeval.training.grpo.prompt_groups import PromptGroup
from dramaeval.training.rewards.completion import Completion

#: A smaller standard deviation of rewards counts as 0.
NO_SPREAD = 1e-6


class DimensionMetrics:
    """Rewards, scores and token figures by dimension.

    The weight of a completion is 1 for a sample, and its probability for an enumerated answer.
    """

    def __init__(self) -> None:
        #: Mean and standard deviation of the reward, and the mean length, of each group.
        self.groups: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        #: Written score, mean rating and weight of each completion.
        self.scores: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        #: Length of each thought in tokens, and whether the thought is unfinished.
        self.thoughts: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        #: KL, entropy, clipped share and weight of each completion.
        self.tokens: dict[str, list[tuple[float, ...]]] = defaultdict(list)

    def add_group(
        self,
        completions: Sequence[Completion],
        rewards: Sequence[float],
        weights: Sequence[float] | None = None,
    ) -> None:
        """Add the completions of a group; ``rewards`` are weighted sums over the reward functions."""
        share = np.asarray(weights or [1.0] * len(completions), dtype=np.float64)
        share = share / share.sum()
        mean = float(share @ np.asarray(rewards))
        spread = float(np.sqrt(share @ (np.asarray(rewards) - mean) ** 2))
        length = float(share @ np.asarray([completion.tokens for completion in completions]))
        for answer in completions[0].answers:
            self.groups[answer.dimension].append((mean, spread, length))
        for completion, weight in zip(completions, share.tolist(), strict=True):
            for answer in completion.answers:
                if completion.thought is not None:
                    thought = (completion.thought_tokens, not completion.thought_ended)
                    self.thoughts[answer.dimension].append(thought)
                if answer.score is not None and answer.ratings:
                    self.scores[answer.dimension].append((answer.score, answer.mean_rating, weight))

    def add_pass(
        self,
        groups: Sequence[PromptGroup],
        inputs: Mapping[str, Any],
        scores: TokenScores,
        *,
        clip: tuple[float, float],
    ) -> None:
        """Add the mean KL, entropy and clipped share of each completion of a pass.

        Args:
            groups: the group of each completion.
            inputs: the inputs of the pass.
            scores: scores of the tokens under the policy.
            clip: how far the probability ratio may be below and above 1 without being clipped.
        """
        log_p, entropy = (values.detach() for values in scores)
        mask = inputs["completion_mask"]
        ratio = (log_p - inputs.get("old_per_token_logps", log_p)).exp()
        advantages = inputs["advantages"][:, None]
        low, high = clip
        clipped = ((advantages > 0) & (ratio > 1 + high)) | ((advantages < 0) & (ratio < 1 - low))
        kl = torch.zeros_like(log_p)
        if "ref_per_token_logps" in inputs:
            difference = inputs["ref_per_token_logps"] - log_p
            kl = difference.exp() - difference - 1
        lengths = mask.sum(-1).clamp(min=1)
        columns = [
            (values * mask).sum(-1) / lengths for values in (kl, entropy, clipped.to(kl.dtype))
        ]
        weights = (mask * inputs.get("tool_mask", torch.ones_like(mask))).sum(-1)
        rows = torch.stack([*columns, weights.to(kl.dtype)], dim=1).tolist()
        for group, row in zip(groups, rows, strict=True):
            for dimension in group.dimensions:
                self.tokens[dimension].append(tuple(row))

    @classmethod
    def merged(cls, processes: Iterable[DimensionMetrics]) -> DimensionMetrics:
        """Merge the metrics of several processes."""
        merged = cls()
        for metrics in processes:
            for name, rows in vars(metrics).items():
                for key, values in rows.items():
                    getattr(merged, name)[key].extend(values)
        return merged

    def summary(self) -> dict[str, float]:
        """The figures by name, with the mean correlation over the dimensions that have a correlation."""
        figures: dict[str, float] = {}
        for key, groups in self.groups.items():
            means, spreads, lengths = np.asarray(groups).T
            figures[f"{key}/reward"] = float(means.mean())
            figures[f"{key}/reward_spread"] = float(spreads.mean())
            figures[f"{key}/no_spread"] = float((spreads < NO_SPREAD).mean())
            figures[f"{key}/length"] = float(lengths.mean())
        for key, thoughts in self.thoughts.items():
            lengths, unfinished = np.asarray(thoughts, dtype=np.float64).T
            figures[f"{key}/thought_length"] = float(lengths.mean())
            figures[f"{key}/thought_unfinished"] = float(unfinished.mean())
        for key, tokens in self.tokens.items():
            *columns, weights = np.asarray(tokens).T
            weights = weights / max(weights.sum(), 1e-12)
            for name, values in zip(("kl", "entropy", "clipped"), columns, strict=True):
                figures[f"{key}/{name}"] = float(weights @ values)
        correlations = {
            key: value
            for key, rows in self.scores.items()
            if (value := _pearson(np.asarray(rows))) is not None
        }
        figures |= {f"{key}/pearson": value for key, value in correlations.items()}
        if correlations:
            figures["pearson"] = float(np.mean(list(correlations.values())))
        return figures


def _pearson(rows: np.ndarray) -> float | None:
    """The correlation of columns 0 and 1, weighted by column 2; None if column 0 or 1 is constant."""
    written, rated, weight = rows.T
    if len(set(rated.tolist())) < 2 or len(set(written.tolist())) < 2:
        return None
    covariance = np.cov(written, rated, aweights=weight, ddof=0)
    norm = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / norm) if norm > 0 else None
