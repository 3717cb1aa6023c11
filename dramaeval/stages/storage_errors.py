"""Errors of storage (a full disk, a folder that is read-only or deleted): messages, and a check before the run."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dramaeval.errors import STORAGE, UserFacingError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_WRITE = (*_FULL, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)
#: Errors that are a problem of storage only if they are not the cause of another error.
_CANNOT_OPEN = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
#: The error number in messages of libraries that are not written in Python.
_NUMBER = re.compile(r"(?:\bos error |\[Errno )(\d+)")
#: Messages of torch.save when a write fails for any reason.
_TORCH_MESSAGES = ("PytorchStreamWriter failed", "unexpected pos", "file write failed")
#: A device with fewer free bytes counts as full.
_FREE_BYTES = 2**20
#: The size of the trial file in bytes, which is larger than the files that Hydra writes.
_TRIAL_BYTES = 2**17


class StorageError(UserFacingError):
    """The run folder cannot be written or was deleted."""

    exit_code = STORAGE


def storage_problem(error: BaseException, folder: Path | None = None) -> str | None:
    """The problem of the disk or the run folder that caused an error.

    Args:
        error: the error; its causes are searched too.
        folder: the run folder, which existed when the run began.

    Returns:
        one sentence; None if the error has another cause.
    """
    if folder is not None and not folder.is_dir():
        return folder_gone(folder)
    causes = list(_causes(error))
    for cause in causes:
        number, name = _number_of(cause), getattr(cause, "filename", None)
        if number in _CANNOT_WRITE or (cause is error and number in _CANNOT_OPEN):
            return sentence(int(number), Path(os.fsdecode(name)) if name else None, folder)
    if any(sign in str(cause) for cause in causes for sign in _TORCH_MESSAGES):
        if _full_places(folder):
            return sentence(errno.ENOSPC, None, folder)
        return (
            f"A file of {folder or 'the run'} could not be written: look for a quota, a limit of size "
            "(ulimit -f) or a broken disk."
        )
    if isinstance(error, FileNotFoundError) and folder is not None and error.filename:
        missing = Path(os.fsdecode(error.filename)).absolute()
        if missing.is_relative_to(folder.absolute()):
            return f"{missing} is missing: it was deleted from the run folder during the run."
    return None


def folder_gone(folder: Path) -> str:
    """The message for a run folder that no longer exists."""
    return f"The run folder {folder} is gone: it was deleted or moved during the run."


def sentence(number: int, file: Path | None, folder: Path | None) -> str:
    """Describe an error of the operating system in one sentence.

    Args:
        number: the errno.
        file: the file that was opened or written, if known.
        folder: the run folder, if known.
    """
    subject = str(file) if file else f"A file of {folder}" if folder else "A file"
    if number in _FULL:
        places = list(map(str, _full_places(folder, file))) or [str(file or folder or "a file")]
        return f"No space is left on the device or in the quota of {', '.join(places)}: make room."
    if number == errno.EFBIG:
        return f"{subject} would become larger than this process may write: raise the limit (ulimit -f)."
    return f"{subject} cannot be written or read: {os.strerror(number)}."


def require_writable(folder: Path, setting: str) -> None:
    """Create a folder and write a trial file in it.

    Args:
        setting: the setting that names the folder, for the message.

    Raises:
        StorageError: the folder cannot be created or written.
    """
    trial = folder / f".trial-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            trial.write_bytes(bytes(_TRIAL_BYTES))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        reason = sentence(error.errno or errno.EIO, Path(error.filename or folder), folder)
        raise StorageError(
            f"{setting}={folder} cannot be used: {reason} Or choose another folder with {setting}=…"
        ) from None


class FolderCheck(Callback):
    """A Hydra callback that checks the folder of a run or a sweep before Hydra writes to it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check ``hydra.run.dir``."""
        _check(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check ``hydra.sweep.dir``, unless the command writes nothing."""
        if not (config.launch.check or config.get("plan")):
            _check(config, "hydra.sweep.dir")


def _check(config: DictConfig, setting: str) -> None:
    try:
        folder = Path(str(config.hydra.run.dir if "run" in setting else config.hydra.sweep.dir))
    except (OmegaConfBaseException, ValueError):
        return  # Hydra reports the problem
    try:
        require_writable(folder, setting)
    except StorageError as error:
        # Hydra turns all other errors of a callback into warnings.
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        context = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or context


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _NUMBER.search(str(error))
    return int(match[1]) if match else None


def _full_places(folder: Path | None, file: Path | None = None) -> list[Path]:
    """The folders of a run that are on a full device."""
    places = [file.parent if file else None, folder, Path(tempfile.gettempdir())]
    full = []
    for place in dict.fromkeys(place for place in places if place):
        with suppress(OSError):
            if shutil.disk_usage(place).free < _FREE_BYTES:
                full.append(place)
    return full
