"""Atomic replacement of files and folders: after a kill, the old or the new content is there, never a part of it."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dramaeval.config.secrets import without_secrets
from dramaeval.data.manifest import damage_in, seal, set_aside, write_listed
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.distributed.replacing import replacing

log = logging.getLogger(__name__)


def write_text_atomic(path: Path, text: str, *, verbatim: bool = False) -> None:
    """Replace a text file in one step; secrets are masked, except with `verbatim`.

    Several processes and threads may write the file at the same time; one of their texts remains.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(text if verbatim else without_secrets(text), encoding="utf-8")


def write_json_atomic(path: Path, value: Any, *, listed: bool = False) -> None:
    """Write JSON that every reader accepts; NaN and infinity raise ValueError.

    With `listed`, the file is added to its folder's manifest, because the project reads it again later.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if listed:
        write_listed(path, without_secrets(text))
    else:
        write_text_atomic(path, text)


def write_folder_atomic(
    folder: Path, fill: Callable[[Path], None], processes: Processes = SINGLE_PROCESS
) -> None:
    """Fill a temporary folder, seal it with its manifest, then rename it.

    Args:
        folder: the result; an existing folder is replaced.
        fill: writes the files into the folder that it receives; every process calls it.
        processes: the processes that write the folder together.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()  # without parents, so that a deleted run folder is not created again

    def end() -> None:
        seal(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)

    processes.on_rank_zero(begin)
    fill(unfinished)
    processes.barrier()
    processes.on_rank_zero(end)


def is_complete(folder: Path) -> bool:
    """Whether an earlier start completed the folder; a damaged folder is renamed, so that it is written again."""
    if not folder.is_dir():
        return False
    if damage := damage_in(folder):
        aside = set_aside(folder)
        log.warning(
            "%s is damaged: %s. It is written again; %s keeps the damaged files.",
            folder,
            "; ".join(damage),
            aside.name,
        )
        return False
    return True
