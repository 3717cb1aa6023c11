"""Prepares the environment of a process before it computes.

`silence` runs when `dramaeval` is imported, because huggingface_hub reads its switches when it is imported.
`prepare` runs at the start of launch.py, of each worker and of each run of a sweep, and when a name of the Python API
is used. `prepare_device` runs before a model is used; it imports torch. `Family.load` adapts the allocator to the width of
the model. `dramaeval.config.environment_variables` lists the variables and their policies.
"""

from __future__ import annotations

import os
import sys

from dramaeval.compat.glibc import keep_freed_memory
from dramaeval.config.environment_variables import TABLE, Policy, row_of
from dramaeval.errors import UserFacingError

_TRUE = ("1", "true", "yes", "y", "t", "on")

#: The variables that `prepare` has removed, and those that this process has set.
_removed: dict[str, str] = {}
_set: dict[str, str] = {}
#: The variables to record, as they were before libraries were imported: some libraries set variables too.
_recorded: dict[str, str] = {}


class EnvironmentVariableError(UserFacingError):
    """Environment variables request something that the run cannot do, or contradict each other."""


def silence() -> None:
    """Switch off what libraries send without a request; variables that the user has set are kept."""
    for row in TABLE:
        if row.policy is Policy.default and row.name not in os.environ:
            _put(row.name, row.value)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and "HF_HUB_DISABLE_TELEMETRY" in _set:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]  # read at its import, before this


def prepare() -> list[str]:
    """Check the environment, and remove variables that settings of the configuration replace.

    Returns:
        a line for each variable that this call has removed.

    Raises:
        EnvironmentVariableError: with all problems.
    """
    from dramaeval.distributed.rank_variables import is_foreign, rank_problems

    problems = rank_problems(os.environ)
    before = set(_removed)
    for name, value in list(os.environ.items()):
        row = row_of(name)
        if row is None or _is_own(name):
            continue
        if row.policy is Policy.refused and value.strip().lower() in _TRUE:
            problems.append(f"{name}={value} in the environment: {row.reason}. Then: unset {name}.")
        elif row.policy in (Policy.overridden, Policy.refused):
            _removed[name] = os.environ.pop(name)
        elif row.policy is Policy.ranks and (
            is_foreign(name) or (name.startswith("TORCHELASTIC_") and "RANK" not in os.environ)
        ):
            del os.environ[name]
    if problems:
        raise EnvironmentVariableError("\n".join(problems))
    _recorded.clear()
    _recorded.update(_to_record())
    return [_removal(name) for name in sorted(set(_removed) - before)]


def prepare_device(device: str = "auto") -> None:
    """Prepare this process for a device.

    Args:
        device: the setting ``device``: auto, cpu or cuda.
    """
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        # accelerate imports DeepSpeed, which otherwise searches for a GPU and warns.
        _put("DS_ACCELERATOR", "cpu")
        keep_freed_memory()


def removed() -> list[str]:
    """A line for each variable that `prepare` has removed, with the setting that replaces it."""
    return [_removal(name) for name in sorted(_removed)]


def record() -> dict[str, dict[str, str]]:
    """The variables that can change a result: those that are set, and those that were removed."""
    return {
        "variables": dict(_recorded or _to_record()),
        "variables_not_used": dict(sorted(_removed.items())),
    }


def for_children() -> dict[str, str]:
    """The environment as the user has set it, for child processes, which call `prepare` themselves."""
    kept = {name: value for name, value in os.environ.items() if not _is_own(name)}
    return {**_removed, **kept}


def _to_record() -> dict[str, str]:
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if (row := row_of(name))
        and row.policy in (Policy.recorded, Policy.default)
        and not _is_own(name)
    }


def _removal(name: str) -> str:
    row = row_of(name)
    return f"{name}={_removed[name]} in the environment is not used: {row.reason if row else ''}."


def _put(name: str, value: str) -> None:
    os.environ[name] = _set[name] = value


def _is_own(name: str) -> bool:
    """Whether this process, and not the user, has set a variable."""
    return name in _set and os.environ.get(name) == _set[name]
