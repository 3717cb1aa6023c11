"""Checks an adapter against a model: every name matches a module, and only parts in ``adapt`` are trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dramaeval.compat.peft import base_name
from dramaeval.config.problems import near_match_hint
from dramaeval.models.adapter_settings import shown_parts
from dramaeval.models.adapters import ALL_LINEAR, adapted_parts, count_parameters
from dramaeval.models.families.base import Family

#: Settings of PEFT whose value is a list of module names, or a pattern as one text.
OF_MODULES = ("target_modules", "exclude_modules", "feedforward_modules")
#: Settings of PEFT whose keys are patterns for the ends of module names.
OF_KEYS = ("rank_pattern", "alpha_pattern")
_SHOWN = 3


def name_problems(
    settings: Mapping[str, Any], model: Any, family: Family, adapt: str | Sequence[str]
) -> list[str]:
    """Problems of names in PEFT's settings that match no module of a model, and of patterns that are not valid.

    Args:
        settings: the values of ``peft``, as the user wrote them.
        model: the model without an adapter; its weights may be absent (meta device).
        family: the family of the model.
        adapt: the parts that get adapters.
    """
    parts = adapted_parts(adapt, family)
    names = [name for name, _ in model.named_modules() if name]
    within = {
        part: [n for n in names if n.startswith(f"{family.parts[part]}.")] for part in family.parts
    }
    reached = [name for part in parts for name in within[part]]
    problems = []
    for key in OF_MODULES:
        value = settings.get(key)
        if isinstance(value, str) and (reason := _pattern_problem(value)):
            problems.append(f"peft.{key}: {reason}")
            continue
        for wanted in _names(value):
            if wanted.lower() == ALL_LINEAR or _matching(value, wanted, reached):
                continue
            others = [part for part in family.parts if _matching(value, wanted, within[part])]
            problems.append(f"peft.{key}: {wanted} " + _unmatched(wanted, parts, others, reached))
    for wanted in _names(settings.get("modules_to_save")):
        if not any(name.endswith(wanted) for name in names):
            hint = near_match_hint(wanted, _endings(names))
            problems.append(f"peft.modules_to_save: {wanted} matches no module of the model.{hint}")
    for key in OF_KEYS:
        for pattern in settings.get(key) or {}:
            if reason := _pattern_problem(pattern):
                problems.append(f"peft.{key}: {reason}")
            elif not any(re.match(rf"(.*\.)?({pattern})$", name) for name in reached):
                hint = near_match_hint(pattern, _endings(reached))
                problems.append(
                    f"peft.{key}: {pattern} matches no layer of {', '.join(parts)}.{hint}"
                )
    return [*problems, *_layer_problems(settings, reached)]


def reach_problems(
    model: Any, family: Family, adapt: str | Sequence[str], settings: Mapping[str, Any]
) -> list[str]:
    """Problems of trained weights that are not in the adapted parts.

    Args:
        model: the model with its adapter; its weights may be absent (meta device).
        family: the family of the model.
        adapt: the parts that get adapters.
        settings: the values of ``peft``.
    """
    adapted = adapted_parts(adapt, family)
    parts = {*adapted, *family.parts_in_full(adapted)}
    counts = count_parameters(model, family)
    problems = []
    for part in family.parts:
        if part in parts or not counts[part][0]:
            continue
        root = f"{family.parts[part]}."
        trained = [
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and base_name(name).startswith(root)
        ]
        listed = ", ".join(map(base_name, trained[:_SHOWN]))
        more = f" and {len(trained) - _SHOWN} more" if len(trained) > _SHOWN else ""
        problems.append(
            f"peft trains {counts[part][0]:,} parameters of the {part} ({listed}{more}), which "
            f"adapt={shown_parts(adapt)} leaves out: {_remedy(settings, part)}"
        )
    return problems


def _remedy(settings: Mapping[str, Any], part: str) -> str:
    if settings.get("bias") == "all":
        return f"set peft.bias=lora_only, which trains the biases of adapted layers, or add {part} to adapt."
    return f"give the full names of the modules to train in peft, or add {part} to adapt."


def _names(value: Any) -> list[str]:
    """The value of a setting as a list of names: one text, or several."""
    return [value] if isinstance(value, str) else [str(name) for name in value or ()]


def _pattern_problem(pattern: str) -> str | None:
    """Why a text is not a pattern for module names; None if it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return (
            f"{pattern} is not a regular expression ({error}): give one, in which .* stands for any text, such as "
            r".*\.q_proj, or give names, such as q_proj."
        )
    return None


def _matching(setting: Any, wanted: str, names: Sequence[str]) -> bool:
    """Whether an entry of a setting matches a module name; a setting that is one text is a pattern."""
    if isinstance(setting, str):
        return any(re.fullmatch(wanted, name) for name in names)
    return any(name == wanted or name.endswith(f".{wanted}") for name in names)


def _unmatched(
    wanted: str, parts: Sequence[str], others: Sequence[str], reached: Sequence[str]
) -> str:
    if others:
        both = ",".join([*parts, *others])
        return (
            f"matches layers of {', '.join(others)} only, which adapt={shown_parts(parts)} leaves out: set "
            f"adapt=[{both}], or leave the name out."
        )
    hint = near_match_hint(wanted, _endings(reached))
    return f"matches no layer of {', '.join(parts)}.{hint}"


def _layer_problems(settings: Mapping[str, Any], reached: Sequence[str]) -> Iterator[str]:
    indices = settings.get("layers_to_transform")
    if indices is None:
        return
    lists = [re.escape(name) for name in _names(settings.get("layers_pattern"))]
    list_name = rf"(?:{'|'.join(lists)})" if lists else r"[^.]*"
    first_number = re.compile(rf"(?:^|.*?\.){list_name}\.(\d+)\.")
    present = {int(match[1]) for name in reached if (match := first_number.match(name))}
    if not present:
        yield f"peft.layers_pattern={settings.get('layers_pattern')} matches no list of layers."
        return
    for index in [indices] if isinstance(indices, int) else indices:
        if index not in present:
            yield (
                f"peft.layers_to_transform: there is no layer {index}; the adapted parts have layers "
                f"{min(present)} to {max(present)}."
            )


def _endings(names: Sequence[str]) -> list[str]:
    """The last words of module names, without repetition."""
    return sorted({name.rpartition(".")[2] for name in names} - {""})
