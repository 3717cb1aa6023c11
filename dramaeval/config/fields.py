"""Settings: dataclass fields that carry a type, a default, limits and one line of help.

`dramaeval.config.schema` and `dramaeval.config.sweep_options` declare settings with `setting`. The checks (`problems`),
the ``--help`` text (`settings_text`) and the reference page (`dramaeval.config.reference_pages`) read these declarations.
"""

from __future__ import annotations

import math
import operator
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING as NO_VALUE
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING, ListConfig, OmegaConf

from dramaeval.config.problems import near_match_hint, not_among

#: The kind of a node that may be null. Its type is Any, since Hydra cannot override keys of a typed node that is null.
MAPPING = "a mapping or null"
#: The kind of a text. Its type is Any, since a node of type text would silently convert values that YAML reads as
#: another type (``on``, ``1.10``, ``1e10``).
TEXT = "text (in quotes, where YAML reads another type)"
#: The kind of a text or a mapping of names to texts. Its type is Any for the same reason as for `MAPPING`.
TEXT_OR_TEXTS = "text, a mapping of names to texts, or null"
_KINDS: dict[str, Any] = {
    MAPPING: dict[str, Any] | None,
    TEXT_OR_TEXTS: str | dict[str, str | None] | None,
    TEXT: str,
    f"{TEXT} or null": str | None,
}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_BOUNDS = (
    ("minimum", operator.ge, "{:,} or more"),
    ("above", operator.gt, "above {:,}"),
    ("maximum", operator.le, "at most {:,}"),
    ("below", operator.lt, "below {:,}"),
)


class OpenNode:
    """Arguments of a library or class: the node accepts undeclared keys, which other checks compare with the signature."""


@dataclass(kw_only=True)
class Target(OpenNode):
    """The class under ``_target_`` and its arguments: any key that its constructor takes."""

    _target_: str = MISSING


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The values that a setting accepts, in addition to its type: numbers in a range, or one of several texts.

    With ``one_line``, texts must not contain line breaks or other control characters.
    """

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    choices: Sequence[str] = ()
    one_line: bool = False

    def problem(self, key: str, value: Any) -> str | None:
        """The message about a value outside the limits; None for a valid value and for a value of another type.

        Choices apply to each element of a list.
        """
        if self.choices and isinstance(value, list | ListConfig):
            return next(filter(None, (self.problem(key, element) for element in value)), None)
        if self.choices and value is not None:
            return None if str(value) in self.choices else not_among(key, value, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return f"{key}={value} must be a finite number."
        within = all(compare(value, bound) for compare, bound, _ in self._bounds())
        return None if within else f"{key}={value} must be {self}."

    def _bounds(self) -> Iterator[tuple[Any, float, str]]:
        for name, compare, words in _BOUNDS:
            if (bound := getattr(self, name)) is not None:
                yield compare, bound, words

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return " and ".join(words.format(bound) for _, bound, words in self._bounds())


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A declared setting.

    Attributes:
        key: full key, with dots.
        type: type hint.
        default: default value; ``???`` if the user has to give a value.
        help: one line.
        limits: accepted values.
        kind: the type in words, if the hint does not express it.
        node: for a mapping with the hint Any: the dataclass that declares its settings. The mapping may be null; a key
            that it lacks has the library's default.
    """

    key: str
    type: Any
    default: Any
    help: str
    limits: Limits
    kind: str | None = None
    node: type | None = None

    @property
    def expected(self) -> str:
        """The accepted values in words, for messages and documents."""
        text, limits = self.kind or type_in_words(self.type), str(self.limits)
        if self.limits.choices:
            is_list = get_origin(self.type) is list
            text = f"a list of {', '.join(self.limits.choices)}" if is_list else limits
        elif limits:
            text += (" of " if limits[0].isdigit() else " ") + limits
        return f"{text} or null" if NoneType in get_args(self.type) else text

    @property
    def choices(self) -> Sequence[str]:
        """The accepted texts, if the setting has a list of choices or an enum type."""
        kinds = [*_parts(self.type), *get_args(self.type)]
        enums = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)]
        return self.limits.choices or [name for kind in enums for name in kind.__members__]

    @property
    def nested(self) -> type | None:
        """The dataclass that declares the settings inside this one, if it is a node."""
        kinds = [self.node, self.type, *get_args(self.type)]
        return next((kind for kind in kinds if is_dataclass(kind)), None)

    def problem(self, key: str, value: Any) -> str | None:
        """The message about a value of another type or outside the limits; None for a valid value."""
        valid = fits(_KINDS.get(self.kind or "", self.type), value)
        if not valid or (self.limits.one_line and not _is_printable(value)):
            return f"{key}={value!r} must be {self.expected}."
        return self.limits.problem(key, value)


def setting(
    default: Any = MISSING,
    *,
    help: str,  # noqa: A002 - as in argparse
    kind: str | None = None,
    node: type | None = None,
    **limits: Any,
) -> Any:
    """Declare a setting as the field of a dataclass.

    Args:
        default: default value; for each object, a list is copied and a class is instantiated.
        help: one line of plain English.
        kind: the type in words, if the hint does not express it.
        node: see `Setting`.
        limits: the arguments of `Limits`.
    """
    metadata = {"help": help, "kind": kind, "node": node, "limits": Limits(**limits)}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@cache
def settings_of(schema: type) -> Mapping[str, Setting]:
    """The settings of a dataclass by name; its ``KEYWORDS`` are the settings that are named like a Python keyword."""
    hints = get_type_hints(schema)
    settings = {}
    for declared in fields(schema):
        if declared.metadata:
            name, factory = declared.name, declared.default_factory
            default = declared.default if factory is NO_VALUE else factory()
            settings[name] = Setting(
                key=name, type=hints[name], default=default, **declared.metadata
            )
    keywords = {keyword.key: keyword for keyword in getattr(schema, "KEYWORDS", ())}
    return MappingProxyType(settings | keywords)


def all_settings(schema: type, where: str = "") -> Iterator[Setting]:
    """Every setting of a dataclass and of its nested nodes, with full keys; the nodes are not included."""
    for name, declared in settings_of(schema).items():
        key = f"{where}.{name}" if where else name
        if declared.nested:
            yield from all_settings(declared.nested, key)
        else:
            yield replace(declared, key=key)


def problems(
    schema: type, node: Mapping[Any, Any], where: str = "", *, only_keys: bool = False
) -> list[str]:
    """Report unknown keys, wrong types and values outside their limits, in a node and its nested nodes.

    Args:
        schema: the dataclass that declares the settings. An `OpenNode` accepts any further key.
        node: a configuration node or a mapping; settings may be absent.
        where: the node's key.
        only_keys: whether only unknown keys are reported.
    """
    messages = _unknown_here(schema, node, where)
    for declared, key, value in _values(schema, node, where):
        if declared.nested and isinstance(value, Mapping):
            messages += problems(declared.nested, value, key, only_keys=only_keys)
        elif not only_keys and (problem := declared.problem(key, value)):
            messages.append(problem)
    return messages


def invalid_keys(schema: type, node: Mapping[Any, Any]) -> set[str]:
    """The names of a node's settings whose values `problems` reports."""
    values = _values(schema, node, "")
    return {name for declared, name, value in values if declared.problem(name, value)}


def _values(
    schema: type, node: Mapping[Any, Any], where: str
) -> Iterator[tuple[Setting, str, Any]]:
    """The declared settings that a node has, each with its full key and its value."""
    for name, declared in settings_of(schema).items():
        if name in node and not is_missing(node, name):
            yield declared, f"{where}.{name}" if where else name, node[name]


def _unknown_here(schema: type, node: Mapping[Any, Any], where: str) -> list[str]:
    known, dot = settings_of(schema), f"{where}." if where else ""
    if issubclass(schema, OpenNode):
        return []
    return [
        f"{dot}{key} is not a setting; there are {', '.join(known)}.{near_match_hint(str(key), known, 0.6)}"
        for key in node
        if key not in known
    ]


def is_missing(node: Mapping[Any, Any], key: Any) -> bool:
    """Whether a key of a configuration node has the value ``???``."""
    return OmegaConf.is_config(node) and OmegaConf.is_missing(node, key)


def range_problems(node: Mapping[str, Any], where: str, limits: Mapping[str, Limits]) -> list[str]:
    """Report values outside the limits that dramaeval sets for another library's arguments."""
    checked = (limit.problem(f"{where}.{key}", node.get(key)) for key, limit in limits.items())
    return [problem for problem in checked if problem]


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def fits(hint: Any, value: Any) -> bool:
    """Whether a value has a type. Hints other than plain types, lists, mappings and enums accept every value."""
    if len(_parts(hint)) > 1:
        return any(fits(part, value) for part in _parts(hint))
    kind = get_origin(hint) or hint
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, bool, str, NoneType):
        return type(value) is kind
    if kind is list:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and all(fits(part, item) for item in value for part in get_args(hint))
    if kind is dict:
        return isinstance(value, Mapping) and all(
            fits(part, item) for item in value.values() for part in get_args(hint)[1:]
        )
    if isinstance(kind, type) and issubclass(kind, Enum):
        return isinstance(value, kind) or value in kind.__members__
    return True


def _is_printable(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_printable, value.values()))
    if isinstance(value, list):
        return all(map(_is_printable, value))
    return not isinstance(value, str) or value.isprintable()


def type_in_words(hint: Any) -> str:
    """A type for messages and documents, without null."""
    return " or ".join(_type_in_words(part) for part in _parts(hint) if part is not NoneType)


def _type_in_words(hint: Any) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is list:
        within = {str: "texts"}.get(inner[0]) if inner else None
        if inner and isinstance(inner[0], type) and issubclass(inner[0], Enum):
            within = ", ".join(inner[0].__members__)
        return f"a list of {within}" if within else "a list"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(kind.__members__)}"
    return "a mapping" if kind is dict else "any value"


def settings_text(schema: type, where: str = "") -> str:
    """Every setting of the node ``where`` with its default and help, as indented lines for a terminal."""
    column, lines = " " * 38, []
    for declared in all_settings(schema, where):
        assigned = f"={default_text(declared.default)}"
        if declared.default in (MISSING, {}):
            assigned = "=…" if declared.default else ".KEY=…"
        text, choices = declared.help, declared.choices
        if any(f"{choice}:" not in text for choice in choices):
            text += f" ({' | '.join(choices)})"
        name, wrapped = f"    {declared.key}{assigned}  ", textwrap.wrap(text, 110 - len(column))
        first = (
            name.ljust(len(column)) + wrapped.pop(0) if len(name) <= len(column) else name.rstrip()
        )
        lines += [first, *(column + line for line in wrapped)]
    return "\n".join(lines)


def node_description(schema: type) -> str:
    """The first line of a node's docstring, without markup."""
    return (schema.__doc__ or "").partition("\n")[0].replace("`", "")


def default_text(value: Any) -> str:
    """A default value in the syntax of the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(default_text, value))}]"
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return "null" if value == {} else str(value)
