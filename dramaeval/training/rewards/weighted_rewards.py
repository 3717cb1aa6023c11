"""The weighted sum of rewards; a reward that fails stops the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object

from dramaeval.config.literal import instantiate
from dramaeval.errors import raised
from dramaeval.models.failures import TrainingFailureError
from dramaeval.training.rewards.completion import Completion, Reward

#: The key of a reward's weight in YAML.
WEIGHT = "weight"


class RewardError(TrainingFailureError):
    """A reward raises an error or returns a value that is no finite number; the message names record and dimension."""


class WeightedRewards:
    """The rewards with a weight other than 0.

    Args:
        rewards: by name, a ``_target_`` with its arguments and a weight (1 by default), or a callable with weight 1.
    """

    def __init__(self, rewards: Mapping[str, Any]) -> None:
        weights = {
            name: 1.0 if callable(node) else float(node.get(WEIGHT, 1.0))
            for name, node in rewards.items()
        }
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        self.rewards = {name: build_reward(rewards[name]) for name in self.weights}

    def __call__(self, completions: Sequence[Completion]) -> torch.Tensor:
        """The values of the rewards without weights, float32 ``[completions, rewards]``.

        Raises:
            RewardError: a reward raises an error, or does not return one finite number per completion.
        """
        columns = [
            reward_values(name, reward, completions) for name, reward in self.rewards.items()
        ]
        return torch.tensor(columns, dtype=torch.float32).T

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The weighted sums of the values, ``[completions]``."""
        return values @ torch.tensor(list(self.weights.values()), device=values.device)

    def formula(self) -> str:
        """The weighted sum as text."""
        return " + ".join(f"{weight:g} × {name}" for name, weight in self.weights.items())


def build_reward(node: Mapping[str, Any] | Reward) -> Reward:
    """Make the reward of a YAML node: an instance of a class, or a function with its arguments."""
    if callable(node):
        return node
    target = get_object(node["_target_"])
    arguments = {key: value for key, value in node.items() if key != WEIGHT and key[:1] != "_"}
    if isinstance(target, type):
        return instantiate({"_target_": node["_target_"], **arguments})
    return partial(target, **arguments) if arguments else target


def reward_values(name: str, reward: Reward, completions: Sequence[Completion]) -> list[float]:
    """Compute the value of a reward for each completion.

    Raises:
        RewardError: the reward raises an error, or does not return one finite number per completion.
    """
    try:
        values = list(reward(completions))
    except Exception as error:
        raise RewardError(
            f"The reward {name!r} raised {raised(error)}. {_cause(reward, completions)}"
        ) from error
    if len(values) != len(completions):
        raise RewardError(
            f"The reward {name!r} returned {len(values)} values for {len(completions)} completions: it must "
            "return one for each."
        )
    for value, completion in zip(values, completions, strict=True):
        if not _is_finite(value):
            raise RewardError(
                f"The reward {name!r} returned {value!r} for {_description(completion)}."
            )
    return [float(value) for value in values]


def _is_finite(value: Any) -> bool:
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _cause(reward: Reward, completions: Sequence[Completion]) -> str:
    """Name the first completion that makes the reward fail alone; without one, the records of the batch."""
    for completion in completions:
        try:
            reward([completion])
        except Exception:  # noqa: BLE001 - a reward is the user's, and may raise anything
            return f"It fails on {_description(completion)}."
    records = ", ".join(dict.fromkeys(completion.id for completion in completions))
    return f"The batch has the records {records}."


def _description(completion: Completion) -> str:
    dimensions = ", ".join(answer.dimension for answer in completion.answers)
    return f"record {completion.id} × {dimensions}, answered {completion.text[:200]!r}"
