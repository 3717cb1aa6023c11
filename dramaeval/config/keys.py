"""Keys compared with what is known: the project's own schema, or the constructor behind a ``_target_``.

Hydra refuses an unknown key that is given plainly, but takes any that is given with a ``+``; nothing that a
user has set is ignored without a word, so both are looked at here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from dramaeval.config.problems import near_match_hint
from dramaeval.config.schema import DataConfig, Root, root
from dramaeval.config.task_parts import parts_of, where_of


def check_own(config: DictConfig) -> list[str]:
    """Settings of the project's own that it does not have."""
    schema = root()
    problems = _unknown("", config, [str(key) for key in schema])
    for key, kind in get_type_hints(Root).items():
        if is_dataclass(kind):
            problems += _unknown(key, config[key], [str(one) for one in schema[key]])
    data = [field.name for field in fields(DataConfig)]
    nodes = {"task.data": config.task.get("data")}
    for part, node in parts_of(config.task).items():
        nodes[f"{where_of(config.task, part)}.data"] = node.get("data")
    for key, node in nodes.items():
        problems += _unknown(key, node, data)
    return problems


def _unknown(where: str, node: Any, known: Sequence[str]) -> list[str]:
    dot = f"{where}." if where else ""
    return [
        f"{dot}{key} is not a setting; there are {', '.join(known)}.{near_match_hint(str(key), known)}"
        for key in node or ()
        if key not in known
    ]


def targets_in(node: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every ``_target_`` of a configuration with its key."""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, DictConfig):
        pairs = ((key, node[key]) for key in node if not OmegaConf.is_missing(node, key))
    elif isinstance(node, ListConfig):
        pairs = enumerate(node)
    for key, value in pairs:
        path = f"{where}.{key}" if where else str(key)
        if key == "_target_" and isinstance(value, str):
            yield path, value
        yield from targets_in(value, path)


def missing_targets(config: DictConfig) -> list[str]:
    """Classes and functions that are named and cannot be imported."""
    return [
        f"{key}={name} cannot be imported: {why(name)}. Give the full name of a class or function, like "
        "package.module.Name."
        for key, name in targets_in(config)
        if resolve_target(name) is None
    ]


def resolve_target(name: str) -> Any | None:
    """What a ``_target_`` names; None where it cannot be imported."""
    try:
        return get_object(name)
    except (ImportError, ValueError, AttributeError):
        return None


def why(name: str) -> str:
    """The last reason for which a ``_target_`` cannot be imported."""
    try:
        get_object(name)
    except (ImportError, ValueError, AttributeError) as error:
        lines = str(error.__cause__ or error).strip().splitlines()
        return lines[-1].rstrip(".") if lines else type(error).__name__
    return ""


def check_arguments(
    node: Mapping[str, Any],
    where: str,
    reserved: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
) -> list[str]:
    """Compare a node's keys with the arguments of its ``_target_``'s constructor.

    Args:
        node: a config node with a ``_target_``.
        where: its key, for the messages.
        reserved: arguments that are not the user's to set, and what to set instead.
        also: keys that are consumed before the constructor is called.
    """
    if "_target_" not in node:
        return [f"{where} has no _target_: choose one of the group's files."]
    target = resolve_target(node["_target_"])
    if target is None:
        return []  # said by `missing_targets`
    known = [*argument_names(target), *also]
    problems = []
    for key in node:
        missing = OmegaConf.is_dict(node) and OmegaConf.is_missing(node, key)
        if key.startswith("_") or missing:
            continue
        if reserved and key in reserved:
            problems.append(f"{where}.{key} is set by the run: use {reserved[key]}.")
        elif key not in known:
            hint = near_match_hint(key, known)
            problems.append(f"{where}.{key} is not an argument of {node['_target_']}.{hint}")
        elif wanted := _wrong_type(target, key, node[key]):
            problems.append(f"{where}.{key}={node[key]} must be {wanted}.")
    return problems


def _wrong_type(target: Any, key: str, value: Any) -> str | None:
    """What a plain argument of a dataclass should be, if the value is not; None where it is or may be."""
    if not is_dataclass(target):
        return None
    hint = get_type_hints(target).get(key)
    choices = set(get_args(hint)) or {hint}
    if not choices <= {int, float, bool, str, type(None)}:
        return None
    accepted = choices | ({int} if float in choices else set())
    if type(value) in accepted:
        return None
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return " or ".join(names[one] for one in (int, float, bool, str) if one in choices) or "null"


def argument_names(target: Callable[..., Any]) -> list[str]:
    """The keyword arguments that a callable takes."""
    names: dict[str, None] = {}
    for one in target.__mro__ if inspect.isclass(target) else (target,):
        if one is object:
            continue
        parameters = inspect.signature(one).parameters
        names |= dict.fromkeys(parameters)
        # A subclass hands on what it does not name itself as **kwargs; without those it takes nothing else.
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            break
    return [name for name in names if name not in ("self", "args", "kwargs")]
