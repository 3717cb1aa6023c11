"""A disk that is full, a folder that is read-only or gone: the message, and what is checked in time."""

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
#: These mean a problem of storage only where nothing else was raised on top of them.
_CANNOT_OPEN = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
#: How libraries that are not written in Python name an error of the system.
_NUMBER = re.compile(r"(?:\bos error |\[Errno )(\d+)")
#: What torch.save says when a write fails, whatever the reason.
_TORCH = ("PytorchStreamWriter failed", "unexpected pos", "file write failed")
#: Free bytes below which a device counts as full.
_LITTLE = 2**20
#: Bytes that are written to see whether a folder can be written: more than Hydra's own files take.
_TRIED = 2**17


class StorageError(UserFacingError):
    """The run folder cannot be written, or is gone."""

    exit_code = STORAGE


def storage_problem(error: BaseException, folder: Path | None = None) -> str | None:
    """What is wrong with the disk or the run folder, where that is why an error was raised.

    Args:
        error: with those that led to it.
        folder: of the run, which existed when the run began.

    Returns:
        one sentence; None for an error of another kind.
    """
    if folder is not None and not folder.is_dir():
        return f"The run folder {folder} is gone: it was deleted or moved while the run went on."
    causes = list(_causes(error))
    for cause in causes:
        number, name = _number_of(cause), getattr(cause, "filename", None)
        if number in _CANNOT_WRITE or (cause is error and number in _CANNOT_OPEN):
            return sentence(int(number), Path(os.fsdecode(name)) if name else None, folder)
    if any(sign in str(cause) for cause in causes for sign in _TORCH):
        if _full_places(folder):
            return sentence(errno.ENOSPC, None, folder)
        return (
            f"A file of {folder or 'the run'} could not be written: look for a quota, a limit of size "
            "(ulimit -f) or a broken disk."
        )
    if isinstance(error, FileNotFoundError) and folder is not None and error.filename:
        missing = Path(os.fsdecode(error.filename)).absolute()
        if missing.is_relative_to(folder.absolute()):
            return (
                f"{missing} is missing: it was deleted from the run folder while the run went on."
            )
    return None


def sentence(number: int, file: Path | None, folder: Path | None) -> str:
    """An error of the system in one sentence.

    Args:
        number: the system's (errno).
        file: that was opened or written, where it is known.
        folder: of the run, where it is known.
    """
    what = str(file) if file else f"A file of {folder}" if folder else "A file"
    if number in _FULL:
        places = list(map(str, _full_places(folder, file))) or [str(file or folder or "a file")]
        return f"No space is left on the device or in the quota of {', '.join(places)}: make room."
    if number == errno.EFBIG:
        return (
            f"{what} would become larger than this process may write: raise the limit (ulimit -f)."
        )
    return f"{what} cannot be written or read: {os.strerror(number)}."


def require_writable(folder: Path, setting: str) -> None:
    """Make a folder and try to write in it.

    Args:
        folder: to be made where it is not there.
        setting: that names it, for the message.

    Raises:
        StorageError: it cannot be made or written.
    """
    trial = folder / f".trial-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            trial.write_bytes(bytes(_TRIED))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        reason = sentence(error.errno or errno.EIO, Path(error.filename or folder), folder)
        raise StorageError(
            f"{setting}={folder} cannot be used: {reason} Or choose another folder with {setting}=…"
        ) from None


class FolderCheck(Callback):
    """Hydra's callback that tries a run's or a sweep's folder before Hydra itself writes there."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Try ``hydra.run.dir``."""
        _check(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Try ``hydra.sweep.dir``, unless nothing is to be written."""
        if not config.launch.check:
            _check(config, "hydra.sweep.dir")


def _check(config: DictConfig, setting: str) -> None:
    try:
        folder = Path(str(config.hydra.run.dir if "run" in setting else config.hydra.sweep.dir))
    except (OmegaConfBaseException, ValueError):
        return  # Hydra says what is wrong with it
    try:
        require_writable(folder, setting)
    except StorageError as error:
        # Hydra turns every other error of a callback into a warning.
        print(f"\n{error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        before = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or before


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _NUMBER.search(str(error))
    return int(match[1]) if match else None


def _full_places(folder: Path | None, file: Path | None = None) -> list[Path]:
    """Which of the folders that a run writes to are on a full device."""
    places = [file.parent if file else None, folder, Path(tempfile.gettempdir())]
    full = []
    for place in dict.fromkeys(place for place in places if place):
        with suppress(OSError):
            if shutil.disk_usage(place).free < _LITTLE:
                full.append(place)
    return full
