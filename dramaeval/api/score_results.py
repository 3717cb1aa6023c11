"""The results of `Judge.score`: dictionaries and lists that can be converted to pandas DataFrames and to rewards.

pandas is always installed, because `datasets` depends on it; it is imported at its first use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dramaeval.api.own_tasks import task_of_scores
from dramaeval.evaluation.score_table import score_columns
from dramaeval.models.devices import input_device

if TYPE_CHECKING:
    import pandas


class ClipScores(dict[str, Any]):
    """The scores of one clip: a `Score` by dimension key."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each dimension with expected, spread and state, and with scale and distribution as tuples."""
        import pandas as pd

        columns = ("expected", "spread", "state", "scale", "distribution")
        rows = [[getattr(score, name) for name in columns] for score in self.values()]
        return pd.DataFrame(rows, index=pd.Index(self, name="dimension"), columns=list(columns))


class ScoreList(list[ClipScores]):
    """The scores of several clips, in their order."""

    def to_frame(self) -> pandas.DataFrame:
        """A row for each clip: ``KEY`` (expected score) and ``KEY.spread`` for each dimension, and ``unscored``.

        ``output=FILE.csv`` has the same columns; ``unscored`` gives the reasons for missing scores.
        """
        import pandas as pd

        keys = list(dict.fromkeys(key for scores in self for key in scores))
        rows = [score_columns(scores, keys) for scores in self]
        columns = [*keys, *(f"{key}.spread" for key in keys), "unscored"]
        numbers = dict.fromkeys(columns[:-1], "float64")
        return pd.DataFrame(rows, columns=columns).astype(numbers)


class RewardsClips:
    """The method ``reward`` of `Judge`."""

    model: Any
    score: Any
    task_of_clips: Any
    config: Any

    def reward(
        self,
        batch: Sequence[np.ndarray | torch.Tensor] | np.ndarray | torch.Tensor,
        sample_rate: int | None = None,
        texts: Mapping[str, str | Sequence[str]] | None = None,
        *,
        task: str | None = None,
        dimensions: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        per_dimension: bool = False,
        clips_a_batch: int = 8,
    ) -> torch.Tensor:
        """Rewards of generated speech, for the training loop of another model; no file is read or written.

        The reward is the weighted mean of the expected scores. Each score is first scaled to 0-1, from the lowest to the
        highest point of its scale. The forward passes run on the judge's device; the log-mel features are computed on
        the CPU. The rewards have no gradient.

        Args:
            batch: clips as floats ``[samples]``, or an array ``[clips, samples]`` of clips with the same length.
            sample_rate: sampling rate of the clips, in Hz; None means the rate of the model.
            texts: the texts of the task by name, each one text for all clips or a list; see `score`.
            task: name of the task; None means the same task as for `score`.
            dimensions: keys of the dimensions to score; None means all dimensions of the task.
            weights: weights of the dimensions by key; a missing key has weight 0. None means equal weights.
            per_dimension: return the scaled scores ``[clips, dimensions]`` instead of their mean.
            clips_a_batch: number of clips per forward pass.

        Returns:
            float32 ``[clips]`` on the judge's device; NaN for a clip without a score on a dimension with a weight.

        Raises:
            ValueError: as for `score`; also if the weights are not valid.
        """
        task = task or task_of_scores(self.config)
        scores = self.score(
            list(batch),
            task,
            dimensions=dimensions,
            sample_rate=sample_rate,
            clips_a_batch=clips_a_batch,
            **(texts or {}),
        )
        rated = self.task_of_clips(task, dimensions).rated_dimensions
        values = rewards(scores, [dimension.key for dimension in rated], weights, per_dimension)
        return values.to(input_device(self.model))


def rewards(
    scores: Sequence[ClipScores],
    keys: Sequence[str],
    weights: Mapping[str, float] | None,
    per_dimension: bool,
) -> torch.Tensor:
    """The expected scores scaled to 0-1, float32 ``[clips, dimensions]``, or their weighted mean ``[clips]``.

    ``weights`` are by dimension key; None means equal weights.

    Raises:
        ValueError: a weight belongs to no dimension, is negative or not finite, or all weights are 0.
    """
    scaled = torch.tensor(
        [[_scaled(clip.get(key)) for key in keys] for clip in scores], dtype=torch.float64
    ).reshape(len(scores), len(keys))
    if per_dimension:
        return scaled.float()
    if weights is None:
        return scaled.mean(dim=1).float()
    unknown = sorted(set(weights) - set(keys))
    valid = all(math.isfinite(weight) and weight >= 0 for weight in weights.values())
    if unknown or not valid or not any(weights.values()):
        raise ValueError(
            f"weights={dict(weights)} must be finite, 0 or more, not all 0, and of {', '.join(keys)}."
        )
    columns = [number for number, key in enumerate(keys) if weights.get(key)]
    shares = torch.tensor([float(weights[keys[number]]) for number in columns], dtype=torch.float64)
    return (scaled[:, columns] @ (shares / shares.sum())).float()


def _scaled(score: Any) -> float:
    if score is None or score.expected is None:
        return float("nan")
    low, high = score.scale[0], score.scale[-1]
    return (score.expected - low) / (high - low)
