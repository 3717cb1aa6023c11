"""Secrets stay in the environment: what is saved or sent of a configuration goes through `masked` first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dramaeval.config.check import ConfigError

HIDDEN = "(hidden)"

#: Settings that hold a secret. Not every *_token does: eos_token and pad_token are words of a vocabulary.
_SETTING = re.compile(
    r"(api_?key|secret(_key)?|password|passwd|((hub|hf|access|auth|bearer)_?token))$", re.I
)
_VARIABLE = re.compile(r"(API_?KEY|ACCESS_KEY|TOKEN|SECRET(_KEY)?|PASSWORD|PASSWD)$", re.I)
#: Shorter values would hide ordinary words wherever they stand.
_SHORTEST = 8


def masked(value: Any, key: str = "") -> Any:
    """The same plain containers with every secret replaced by `HIDDEN`.

    A secret is the value of a setting that is called like one, and any text that holds the value of such an
    environment variable, however it got there.
    """
    if isinstance(value, dict):
        return {name: masked(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, key) for inner in value]
    if value is not None and not isinstance(value, bool) and _SETTING.search(key):
        return HIDDEN
    return without(value, _from_environment()) if isinstance(value, str) else value


def refuse(config: DictConfig, written: Iterable[Path] = ()) -> None:
    """Stop where a secret stands in the configuration itself, and take it out of files it got into.

    Args:
        config: as composed.
        written: files that Hydra has written before the run began.

    Raises:
        ConfigError: naming the settings, never the values.
    """
    found = dict(_literal(config))
    if not found:
        return
    for file in written:
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            file.write_text(without(text, found.values()), encoding="utf-8")
    raise ConfigError(
        [
            f"{key} is a secret, and settings are saved in the run folder: put it into the environment "
            "(WANDB_API_KEY, HF_TOKEN) and leave the setting out."
            for key in found
        ]
    )


def without(text: str, secrets: Iterable[str]) -> str:
    """A text with every secret in it replaced."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def _from_environment() -> list[str]:
    return [
        value
        for name, value in os.environ.items()
        if _VARIABLE.search(name) and len(value) >= _SHORTEST
    ]


def _literal(node: DictConfig | ListConfig, where: str = "") -> Iterator[tuple[str, str]]:
    """Settings that are called like a secret and hold one, as key and value; interpolations are not values."""
    keys = list(node) if isinstance(node, DictConfig) else range(len(node))
    for name in keys:
        key = f"{where}.{name}" if where else str(name)
        if OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name):
            continue
        value = node[name]
        if isinstance(value, DictConfig | ListConfig):
            yield from _literal(value, key)
        elif value not in (None, "", HIDDEN) and _SETTING.search(str(name)):
            yield key, str(value)
