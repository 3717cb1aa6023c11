"""Templates: texts in which names in braces stand for values, such as ``{title}``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from string import Formatter

_LITERAL = "a brace that is part of the text is written twice, {{ or }}"


def template_problem(template: str, names: Sequence[str]) -> str | None:
    """Why a text is no template with these names, and the fix; None if it is one."""
    shown = ", ".join(f"{{{name}}}" for name in names)
    try:
        held = _names(template)
        if unknown := [name for name in held if name not in names]:
            return f"holds {{{unknown[0]}}}; it may hold {shown}, and {_LITERAL}"
        template.format(**dict.fromkeys(names, ""))
    except (ValueError, LookupError) as error:
        return f"is not a valid template ({error}); it may hold {shown}, and {_LITERAL}"
    return None


def equal_question_problems(questions: Mapping[str, Hashable]) -> list[str]:
    """Problems of dimensions that a judge cannot distinguish: `questions` has equal values for their keys."""
    keys: dict[Hashable, list[str]] = {}
    for key, question in questions.items():
        keys.setdefault(question, []).append(key)
    return [
        f"dimensions {', '.join(same)} have the same question: give each its own title and description, and write "
        "{title} or {description} in rubric.question"
        for same in keys.values()
        if len(same) > 1
    ]


def names_in(template: str, where: str) -> tuple[str, ...]:
    """The names in the braces of a template of a record's texts, without repetition.

    Args:
        template: the template.
        where: the setting, for messages.

    Raises:
        ValueError: the braces do not match, or what they hold cannot be a key of a record.
    """
    try:
        names = _names(template)
        template.format(**dict.fromkeys(names, ""))
    except (ValueError, LookupError, AttributeError) as error:
        reason = f"is not a valid template ({error}); write keys of records in braces"
        raise ValueError(f"{where}={template!r} {reason}, and {_LITERAL}.") from None
    return names


def _names(template: str) -> tuple[str, ...]:
    names = (name for _, name, _, _ in Formatter().parse(template) if name is not None)
    return tuple(dict.fromkeys(names))
