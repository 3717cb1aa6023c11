"""Files that are replaced as a whole: a kill leaves the old content or the new, never a part of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dramaeval.config.secrets import without_secrets
from dramaeval.data.manifest import write_listed


def write_text_atomic(path: Path, text: str, *, verbatim: bool = False) -> None:
    """Write a text file by renaming a complete temporary file.

    Args:
        path: the file.
        text: its content; secrets are masked.
        verbatim: write data as they are, without masking.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text if verbatim else without_secrets(text), encoding="utf-8")
    os.replace(unfinished, path)


def write_json_atomic(path: Path, value: Any, *, listed: bool = False) -> None:
    """Write JSON that every reader accepts; NaN and infinity raise ValueError.

    Args:
        path: the file.
        value: plain values.
        listed: enter the file in the manifest of its folder, because the project reads it back.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if listed:
        write_listed(path, without_secrets(text))
    else:
        write_text_atomic(path, text)
