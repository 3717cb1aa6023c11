"""Short names of a task's texts: ``scene`` is the short name of the key ``local_scene`` of records.

The path of a reference counts as a text with the name ``reference``.
"""

from __future__ import annotations

from collections.abc import Mapping

from dramaeval.tasks.reference import REFERENCE, uses_reference
from dramaeval.tasks.task import Task

#: Prefixes that short names omit.
_PREFIXES = ("char_", "local_", "wav_path_")


def short_name(key: str) -> str:
    """The short name of a key."""
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix)


def required_names(task: Task) -> dict[str, str]:
    """The short names of the texts that every record must have, by key."""
    reference = (REFERENCE,) if uses_reference(task.dimensions) else ()
    return {key: short_name(key) for key in (*task.text_fields, *reference)}


def all_names(task: Task) -> dict[str, str]:
    """The short names of all texts that the task reads, by key."""
    return required_names(task) | {key: short_name(key) for key in task.optional_text_fields}


def keys_by_name(names: Mapping[str, str]) -> dict[str, str]:
    """The key of each name, from short names by key; a key counts as a name too."""
    return {name: key for key, short in names.items() for name in (key, short)}
