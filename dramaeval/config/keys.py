"""Compares the keys of a node with the constructor arguments of the class under its ``_target_``.

Hydra refuses unknown keys, except after a ``+`` and in nodes that hold the arguments of other libraries.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hydra.utils import get_object
from omegaconf import ListConfig

from dramaeval.config.fields import fits, is_missing, type_in_words
from dramaeval.config.problems import hint_or_names


def targets_in(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """The key and the value of every ``_target_`` in a configuration or in plain containers."""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        pairs = ((key, node[key]) for key in node if not is_missing(node, key))
    elif isinstance(node, list | ListConfig):
        pairs = enumerate(node)
    for key, value in pairs:
        path = f"{where}.{key}" if where else str(key)
        if key == "_target_":
            yield path, value
        yield from targets_in(value, path)


def missing_targets(config: Mapping[Any, Any]) -> list[str]:
    """A problem for each ``_target_`` in a configuration that cannot be imported."""
    return [
        f"{key}={name} cannot be imported: {reason}. Give the full name of a class or function, like "
        "package.module.Name."
        for key, name in targets_in(config)
        if isinstance(name, str) and (reason := _import(name)[1])
    ]


def resolve_target(name: str) -> Any | None:
    """The class or function that a ``_target_`` names; None if it cannot be imported."""
    return _import(name)[0]


def _import(name: str) -> tuple[Any | None, str]:
    """The object with a full name and "", or None and the reason why it cannot be imported."""
    try:
        return get_object(name), ""
    except (ImportError, ValueError, AttributeError) as error:
        lines = str(error.__cause__ or error).strip().splitlines()
        return None, lines[-1].rstrip(".") if lines else type(error).__name__


def is_a(node: Mapping[str, Any] | None, *names: str) -> bool:
    """Whether the class of a node, or a class that it extends, has one of these names."""
    if not node or "_target_" not in node or is_missing(node, "_target_"):
        return False
    classes = getattr(resolve_target(node["_target_"]), "__mro__", ())
    return any(parent.__name__ in names for parent in classes)


def check_arguments(
    node: Mapping[str, Any],
    where: str,
    reserved: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
    reported: Container[str] = (),
) -> list[str]:
    """Report keys that the constructor under a node's ``_target_`` does not take, and values of a wrong type.

    Args:
        node: a node with a ``_target_``.
        where: the key of the node.
        reserved: arguments that the run sets, each with the setting to use instead; see `instead`.
        also: further valid keys, which are not passed to the constructor.
        reported: arguments whose invalid values the schema reports.
    """
    if "_target_" not in node:
        return [f"{where} has no _target_: choose one of the group's files."]
    if is_missing(node, "_target_") or (target := resolve_target(node["_target_"])) is None:
        return []  # `missing_targets`, or the check for missing values, reports it
    known, problems = [*argument_names(target), *also], []
    hints = get_type_hints(target) if is_dataclass(target) else {}
    for key in node:
        if key.startswith("_") or is_missing(node, key):
            continue
        if reserved and key in reserved:
            problems.append(f"{where}.{key} is set by the run: {instead(reserved[key])}.")
        elif key not in known:
            hint = hint_or_names(key, known)
            problems.append(f"{where}.{key} is not an argument of {node['_target_']}.{hint}")
        elif key in hints and key not in reported and not fits(hints[key], node[key]):
            problems.append(f"{where}.{key}={node[key]} must be {type_in_words(hints[key])}.")
    return problems


def instead(replacement: str) -> str:
    """The advice for a refused setting; the replacement is the setting to use, or ``nothing: `` and the reason."""
    if replacement.startswith("nothing: "):
        return f"leave it out; {replacement.removeprefix('nothing: ')}"
    return f"use {replacement}"


def argument_names(target: Callable[..., Any]) -> list[str]:
    """The arguments of a function or of a class, including those that ``**kwargs`` passes to its base classes."""
    names: dict[str, None] = {}
    for definition in target.__mro__ if inspect.isclass(target) else (target,):
        if definition is object:
            continue
        parameters = inspect.signature(definition).parameters
        names |= dict.fromkeys(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break  # this class passes no keyword arguments to its base class
    return [name for name in names if name not in ("self", "args", "kwargs")]
