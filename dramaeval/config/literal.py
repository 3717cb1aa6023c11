"""Values that are final: OmegaConf and Hydra must not read ``${…}`` in them as an interpolation.

OmegaConf treats every string with ``${`` as an interpolation, whether a user typed it or it is the name of a
folder, a file of somebody else or the result of an earlier interpolation. Plain values go through `literal`
before they become part of a configuration.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

_KEYWORDS = ("_target_", "_partial_", "_convert_", "_recursive_")
_OPENING = re.compile(r"(\\*)\$\{")


def literal(value: Any) -> Any:
    """A plain value in whose texts, at any depth, OmegaConf finds no interpolation."""
    if isinstance(value, str):
        # Backslashes before an interpolation escape it, so that they are doubled.
        return _OPENING.sub(lambda found: found[1] * 2 + "\\${", value)
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    return [literal(inner) for inner in value] if isinstance(value, list) else value


def plain(node: Any) -> Any:
    """A configuration node as dictionaries and lists, its interpolations resolved once."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def instantiate(node: Any, **arguments: Any) -> Any:
    """Make what a node's ``_target_`` names, innermost first, as `hydra.utils.instantiate` does.

    Hydra resolves interpolations once more in the values that it is given; here every value is final. The
    target gets plain containers, and objects among the arguments are handed over as they are.

    Args:
        node: a configuration node, or a mapping. ``_partial_``, ``_args_`` and ``_recursive_`` are understood.
        arguments: further arguments; they win over those of the node.

    Raises:
        hydra.errors.InstantiationException: the target cannot be imported, Hydra's policy refuses it, or it
            raises, which is then the cause.
    """
    return _make({**plain(node), **arguments})


def _make(value: Any) -> Any:
    if isinstance(value, list):
        return [_make(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _make(inner) for key, inner in value.items()}
    name, build = value["_target_"], value.get("_recursive_", True)
    given = {
        key: _make(inner) if build else inner
        for key, inner in value.items()
        if key not in _KEYWORDS
    }
    positional = given.pop("_args_", ())
    # Hydra imports the target and applies its policy; arguments do not pass through it.
    target = hydra.utils.instantiate({"_target_": name, "_partial_": True})
    if value.get("_partial_"):
        return functools.partial(target.func, *positional, **given)
    if missing := [key for key, inner in given.items() if inner == "???"]:
        raise InstantiationException(f"{name} has no value for {', '.join(missing)}.")
    try:
        return target(*positional, **given)
    except Exception as error:
        raise InstantiationException(f"{name}: {error}") from error


def resolve(config: DictConfig) -> DictConfig:
    """A copy of a configuration in which every interpolation is replaced by its value, types kept."""
    settled = config.copy()
    with read_write(settled), open_dict(settled):
        _settle(settled, plain(config))
    return settled


def _settle(node: DictConfig | ListConfig, values: Any) -> None:
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        if OmegaConf.is_missing(node, key):
            continue
        if OmegaConf.is_interpolation(node, key):
            node[key] = literal(values[key])
        elif OmegaConf.is_config(node[key]):
            _settle(node[key], values[key])


def folder_problem(folder: str | os.PathLike[str], what: str) -> str | None:
    """Why Hydra cannot work in a folder; None where it can.

    Hydra puts the names of the working folder and of the output folder into its configuration without
    escaping them, and would write to the folder that comes out of the interpolation.

    Args:
        folder: its name, not resolved.
        what: names the folder in the message.
    """
    if "${" not in os.fspath(folder):
        return None
    return f"{what} {folder} has ${{ in its name, which Hydra reads as an interpolation: choose another folder."


def read_plain(file: Path) -> Any:
    """What a YAML file holds, as plain values; no tag of YAML makes an object.

    Raises:
        yaml.YAMLError: the file is not YAML.
    """
    import yaml

    return yaml.safe_load(file.read_text(encoding="utf-8"))
