"""Several rewards, added up with their weights; what cannot be counted stops the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hydra.utils import get_object

from dramaeval.config.literal import instantiate
from dramaeval.training.rewards.completion import Completion, Reward

#: The key of a reward's weight in YAML.
WEIGHT = "weight"


class RewardError(RuntimeError):
    """A reward that raises, or gives no finite number; the message names record and dimension."""


def in_use(rewards: Mapping[str, Any]) -> dict[str, float]:
    """The rewards whose weight is not 0, with their weights; a weight that is left out is 1."""
    weights = {
        name: 1.0 if callable(node) else float(node.get(WEIGHT, 1.0))
        for name, node in rewards.items()
    }
    return {name: weight for name, weight in weights.items() if weight != 0}


def made(node: Mapping[str, Any] | Reward) -> Reward:
    """The reward that a YAML node describes: an instance of a class, or a function with its arguments."""
    if callable(node):
        return node
    target = get_object(node["_target_"])
    arguments = {key: value for key, value in node.items() if key != WEIGHT and key[:1] != "_"}
    if isinstance(target, type):
        return instantiate({"_target_": node["_target_"], **arguments})
    return partial(target, **arguments) if arguments else target


class WeightedRewards:
    """The rewards in use.

    Args:
        rewards: by name a ``_target_`` with its arguments, and a weight; or the reward itself, at weight 1.
    """

    def __init__(self, rewards: Mapping[str, Any]) -> None:
        self.weights = in_use(rewards)
        self.rewards: dict[str, Reward] = {name: made(rewards[name]) for name in self.weights}

    def __call__(self, completions: Sequence[Completion]) -> dict[str, list[float]]:
        """Each reward's values, one a completion, before they are weighted.

        Raises:
            RewardError: see there.
        """
        return {name: values_of(name, reward, completions) for name, reward in self.rewards.items()}

    def in_words(self) -> str:
        """The sum as a formula."""
        return " + ".join(f"{weight:g} × {name}" for name, weight in self.weights.items())


def values_of(name: str, reward: Reward, completions: Sequence[Completion]) -> list[float]:
    """A reward's values, one a completion.

    Raises:
        RewardError: it raises, or what it returns is not one finite number a completion.
    """
    try:
        values = list(reward(completions))
    except Exception as error:
        guilty = _guilty(reward, completions)
        raise RewardError(
            f"The reward {name!r} raised {type(error).__name__}: {error}. {guilty}"
        ) from error
    if len(values) != len(completions):
        raise RewardError(
            f"The reward {name!r} returned {len(values)} values for {len(completions)} completions: it must "
            "return one each."
        )
    for value, one in zip(values, completions, strict=True):
        if not _is_number(value):
            raise RewardError(f"The reward {name!r} returned {value!r} for {_named(one)}.")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _guilty(reward: Reward, completions: Sequence[Completion]) -> str:
    """The completions at fault, found by asking for each alone."""
    found = []
    for one in completions:
        try:
            reward([one])
        except Exception:  # noqa: BLE001 - a reward is the user's, and may raise anything
            found.append(one)
    names = ", ".join(dict.fromkeys(one.id for one in completions))
    return f"It fails on {_named(found[0])}." if found else f"The batch has the records {names}."


def _named(one: Completion) -> str:
    dimensions = ", ".join(given.dimension for given in one.given)
    return f"record {one.id} × {dimensions}, answered {one.text[:200]!r}"
