"""Prepares a process before it computes: its environment variables, its home folder and its output.

`silence` runs when `dramaeval` is imported, because huggingface_hub reads its switches when it is imported.
`prepare` runs at the start of launch.py, of each worker and of each run of a sweep, and when a name of the Python API
is used. `prepare_device` runs before a model is used; it imports torch. `Family.load` adapts the allocator to the width of
the model. `dramaeval.config.environment_variables` lists the variables and their policies. Commands and their processes
also call `accept_any_text` and `ensure_home`.
"""

from __future__ import annotations

import contextlib
import gc
import getpass
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dramaeval.compat.glibc import keep_freed_memory
from dramaeval.config.environment_variables import TABLE, Policy, row_of
from dramaeval.errors import UserFacingError

_TRUE = ("1", "true", "yes", "y", "t", "on")
#: Variables that move what a library writes out of the home folder, each with a name for the other folder.
_MOVED = {"WANDB_DATA_DIR": "wandb", "WANDB_CACHE_DIR": "wandb", "MPLCONFIGDIR": "matplotlib"}

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


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Import libraries in this block without garbage collections; later collections skip the imported objects.

    The libraries of a training create about a million objects that live as long as the process. Collections that go
    through them took a tenth of the time from the command to the first step.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


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


def accept_any_text() -> None:
    r"""Print a character that standard output or standard error cannot encode as its escape, such as ``\u2192``.

    Without this, a finished run would end in a UnicodeEncodeError if the locale is C or POSIX.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def ensure_home() -> None:
    """Set HOME, USER and DRAMAEVAL_CACHE of this process and its children if the system does not provide them.

    A user has none in a container with an unknown user id. Then some libraries fail (wandb, torch's compiler), and some
    create a folder called ``~`` in the working folder (huggingface_hub). A temporary folder replaces a missing home
    folder. It may be in memory, so features of clips are not stored there. An existing home folder is kept; if it is not
    writable, libraries that write below it get another folder.
    """
    if not _has_home():
        os.environ["HOME"] = str(_private_folder())
        os.environ.setdefault("DRAMAEVAL_CACHE", "")
        print(
            f"This user has no home folder: {os.environ['HOME']} is used instead. Features of clips are not "
            "kept on disk unless DRAMAEVAL_CACHE or cache.folder names a folder.",
            file=sys.stderr,
        )
    elif not os.access(os.path.expanduser("~"), os.W_OK):
        for variable, name in _MOVED.items():
            os.environ.setdefault(variable, str(_private_folder() / name))
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        os.environ["USER"] = f"uid-{os.geteuid()}"


def _has_home() -> bool:
    """Whether the user has a home folder; Docker's ``--user`` sets ``/`` for users that it does not know."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or not os.path.isdir(home):
        return False
    return home != "/" or os.access(home, os.W_OK)


def _private_folder() -> Path:
    """A temporary folder that all processes of this user share, and that no other user created or can write."""
    folder = Path(tempfile.gettempdir()) / f"dramaeval-{os.geteuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if is_ours and not status.st_mode & 0o022:
            return folder
    return Path(tempfile.mkdtemp(prefix="dramaeval-"))
