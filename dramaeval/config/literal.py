"""Literal values, in which OmegaConf and Hydra must not read ``${…}`` as an interpolation.

OmegaConf treats every text with ``${`` as an interpolation, even the name of a folder, a text from another person's
file, or the result of an earlier interpolation. `literal` escapes such values before they become part of a
configuration.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

_KEYWORDS = ("_target_", "_partial_", "_convert_", "_recursive_")
_OPENING = re.compile(r"(\\*)\$\{")


def literal(value: Any) -> Any:
    """Escape the texts in a plain value, at any depth, so that OmegaConf finds no interpolation in them."""
    if isinstance(value, str):
        # A backslash before an interpolation escapes it, so backslashes are doubled.
        return _OPENING.sub(lambda match: match[1] * 2 + "\\${", value)
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    return [literal(inner) for inner in value] if isinstance(value, list) else value


def as_override(value: Any) -> str:
    """A plain value in the grammar of Hydra's command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_override, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_override(inner)}" for key, inner in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    # A text is quoted if it could be read as another type, or contains characters of the grammar.
    # Hydra's words have letters and digits of ASCII only.
    is_first_letter = value.isascii() and value[:1].isalpha()
    is_word = is_first_letter and all(char.isalnum() or char in "_-./" for char in value)
    if is_word and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    return QuotedString(literal(value), Quote.single).with_quotes()


def plain(node: Any) -> Any:
    """Convert a configuration node into dictionaries and lists, with interpolations resolved once."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def instantiate(node: Any, **arguments: Any) -> Any:
    """Build the object that a node's ``_target_`` names, inner nodes first, as `hydra.utils.instantiate` does.

    Unlike Hydra, this function resolves interpolations once only. The target gets plain containers; objects among the
    arguments are passed unchanged.

    Args:
        node: a configuration node or a mapping, which may have ``_partial_``, ``_args_`` and ``_recursive_``.
        arguments: further arguments; they take precedence over those of the node.

    Raises:
        hydra.errors.InstantiationException: the target cannot be imported, Hydra's policy refuses it, or the target
            raises an error, which is the cause of this one.
    """
    return _build({**plain(node), **arguments})


def _build(value: Any) -> Any:
    if isinstance(value, list):
        return [_build(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _build(inner) for key, inner in value.items()}
    name, recursive = value["_target_"], value.get("_recursive_", True)
    arguments = {
        key: _build(inner) if recursive else inner
        for key, inner in value.items()
        if key not in _KEYWORDS
    }
    positional = arguments.pop("_args_", ())
    # Hydra imports the target and applies its policy. The arguments are not passed to Hydra.
    target = hydra.utils.instantiate({"_target_": name, "_partial_": True})
    if value.get("_partial_"):
        return functools.partial(target.func, *positional, **arguments)
    if missing := [key for key, inner in arguments.items() if inner == "???"]:
        raise InstantiationException(f"{name} has no value for {', '.join(missing)}.")
    try:
        return target(*positional, **arguments)
    except Exception as error:
        raise InstantiationException(f"{name}: {error}") from error


def resolve(config: DictConfig) -> DictConfig:
    """Copy a configuration and replace each interpolation with its value; types are kept."""
    resolved = config.copy()
    with read_write(resolved), open_dict(resolved):
        _replace_interpolations(resolved, plain(config))
    return resolved


def _replace_interpolations(node: DictConfig | ListConfig, values: Any) -> None:
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        if OmegaConf.is_missing(node, key):
            continue
        if OmegaConf.is_interpolation(node, key):
            node[key] = literal(values[key])
        elif OmegaConf.is_config(node[key]):
            _replace_interpolations(node[key], values[key])


def folder_problem(folder: str | os.PathLike[str], purpose: str) -> str | None:
    """The message about a folder whose name Hydra would interpolate; None for other folders.

    Hydra puts the names of the working folder and the output folder into its configuration without escaping them, and
    would write to the folder that the interpolation results in. The message begins with ``purpose``, such as ``The working
    folder``.
    """
    if "${" not in os.fspath(folder):
        return None
    return f"{purpose} {folder} has ${{ in its name, which Hydra reads as an interpolation: choose another folder."


def read_plain(file: Path) -> Any:
    """Read a YAML file as plain values; see `parse_plain`."""
    return parse_plain(file.read_text(encoding="utf-8"))


def parse_plain(text: str) -> Any:
    """Parse YAML as plain values; YAML tags do not create objects.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    import yaml

    # The parser in C is several times faster; a build of PyYAML may lack it.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
