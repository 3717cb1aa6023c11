"""Tells the settings that the user has given from those that have their default value."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.composition import choices, compose


def override_keys(config: DictConfig) -> tuple[str, ...]:
    """The keys of the command line's overrides: ``peft`` for ``peft=ia3``, ``task.rubric`` for ``task/rubric=…``.

    The overrides are in the configuration's Hydra node, or else in that of the running job.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = OmegaConf.select(config, "hydra")
    if hydra is None and HydraConfig.initialized():
        hydra = HydraConfig.get()
    words = OmegaConf.select(hydra, "overrides.task") if hydra is not None else None
    return tuple(_key(str(word)) for word in words or ())


def _key(word: str) -> str:
    group, _, package = word.lstrip("+~").partition("=")[0].partition("@")
    return package or group.replace("/", ".")


def is_given(key: str, keys: Iterable[str]) -> bool:
    """Whether an override sets a key, or a node that contains the key."""
    return any(key == override or key.startswith(f"{override}.") for override in keys)


def plain_part(config: DictConfig, part: str) -> Any:
    """A part of a configuration as plain values, with interpolations resolved."""
    node = config.get(part)
    if not OmegaConf.is_config(node):
        return node
    return OmegaConf.to_container(node, resolve=True, enum_to_str=True)


@functools.cache
def default(part: str, task: str | None = None) -> Any:
    """A top-level node of the default configuration as plain values, with the default task or another bundled task.

    The result is None for a task that is not bundled. It is cached: do not change it.
    """
    if task is not None and task not in choices("task"):
        return None
    return plain_part(compose(f"task={task}") if task else compose(), part)
