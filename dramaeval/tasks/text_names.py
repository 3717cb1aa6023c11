"""The names of a task's texts: ``scene`` stands for the key ``local_scene`` of records.

The path of a reference counts as a text, named ``reference``.
"""

from __future__ import annotations

from collections.abc import Mapping

from dramaeval.tasks.reference import REFERENCE, uses_reference
from dramaeval.tasks.task import Task

#: Prefixes that the name of a text may leave out.
_PREFIXES = ("char_", "local_", "wav_path_")


def short_name(key: str) -> str:
    """The name of a text without its prefix."""
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix)


def required_names(task: Task) -> dict[str, str]:
    """The short names of the texts that every record needs, by key."""
    reference = (REFERENCE,) if uses_reference(task.dimensions) else ()
    return {key: short_name(key) for key in (*task.text_fields, *reference)}


def all_names(task: Task) -> dict[str, str]:
    """The short names of all texts that the task reads, by key."""
    return required_names(task) | {key: short_name(key) for key in task.optional_text_fields}


def keys_by_name(names: Mapping[str, str]) -> dict[str, str]:
    """The key of each name; a key is a name too.

    Args:
        names: short names by key.
    """
    return {name: key for key, short in names.items() for name in (key, short)}
