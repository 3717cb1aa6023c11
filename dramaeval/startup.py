"""Everything that a process changes in its environment before it computes, in one place.

`silence` runs when `dramaeval` is imported, since huggingface_hub reads its switches when it is imported
itself. `prepare` runs where work begins: in launch.py, in each worker and sweep run, and when a name of the
Python API is used. What happens to which variable is in `dramaeval.config.environment_variables`.
"""

from __future__ import annotations

import os
import sys

from dramaeval.compat.glibc import keep_freed_memory
from dramaeval.config.environment_variables import TABLE, Policy, line_of
from dramaeval.errors import UserFacingError

_TRUE = ("1", "true", "yes", "y", "t", "on")

#: What `prepare` has removed, by name, and what this process has set itself.
_removed: dict[str, str] = {}
_set: dict[str, str] = {}
#: What is recorded, as it was before libraries were imported: some of them set variables too.
_recorded: dict[str, str] = {}


class EnvironmentVariableError(UserFacingError):
    """Environment variables ask for something that the run cannot do, or contradict each other."""


def silence() -> None:
    """Switch off what libraries send without being asked; what the user has set stays."""
    for row in TABLE:
        if row.policy is Policy.default and row.name not in os.environ:
            _put(row.name, row.value)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and "HF_HUB_DISABLE_TELEMETRY" in _set:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]  # read before this import


def prepare() -> list[str]:
    """Check the environment and remove from it what settings decide.

    Returns:
        a line for each variable that this call has removed.

    Raises:
        EnvironmentVariableError: with everything that is wrong.
    """
    from dramaeval.distributed.rank_variables import is_foreign, rank_problems

    problems = rank_problems(os.environ)
    before = set(_removed)
    for name, value in list(os.environ.items()):
        row = line_of(name)
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
    return [_line(name) for name in sorted(set(_removed) - before)]


def prepare_device(kind: str) -> None:
    """Prepare this process for computing on a device, before DeepSpeed is imported.

    Args:
        kind: cpu or cuda.
    """
    if kind == "cpu":
        skip_gpu_search()
        keep_freed_memory()


def skip_gpu_search() -> None:
    """Tell DeepSpeed, which accelerate imports, that there is no GPU; else it searches and warns."""
    _put("DS_ACCELERATOR", "cpu")


def removed() -> list[str]:
    """A line for each variable that `prepare` has removed: what decides in its place."""
    return [_line(name) for name in sorted(_removed)]


def record() -> dict[str, dict[str, str]]:
    """The variables that can change a result: those that are set, and those that were removed."""
    return {
        "variables": dict(_recorded or _to_record()),
        "variables_not_used": dict(sorted(_removed.items())),
    }


def for_children() -> dict[str, str]:
    """The environment as the user has given it, for processes that prepare themselves as this one did."""
    kept = {name: value for name, value in os.environ.items() if not _is_own(name)}
    return {**_removed, **kept}


def _to_record() -> dict[str, str]:
    kept = {}
    for name, value in sorted(os.environ.items()):
        row = line_of(name)
        if row and row.policy in (Policy.recorded, Policy.default) and not _is_own(name):
            kept[name] = value
    return kept


def _line(name: str) -> str:
    row = line_of(name)
    reason = row.reason if row else ""
    return f"{name}={_removed[name]} in the environment is not used: {reason}."


def _put(name: str, value: str) -> None:
    os.environ[name] = _set[name] = value


def _is_own(name: str) -> bool:
    """Whether this process has set a variable itself."""
    return name in _set and os.environ.get(name) == _set[name]
