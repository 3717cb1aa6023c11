"""Finds files whose names differ only in the Unicode form of accents.

macOS decomposes accents (NFD), most other sources compose them (NFC); on Linux, the two are different names.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from dramaeval.config.home_folder import expand_home


class StoredNames:
    """Finds files by names in either form; lists each folder only once."""

    def __init__(self) -> None:
        self._listing = cache(_by_composed_name)

    def find(self, path: str) -> str | None:
        """The stored path of a file or folder; None if there is none, or if the path is ASCII."""
        absolute = os.path.abspath(path)
        if absolute.isascii():
            return None
        return self._find(os.sep, absolute.split(os.sep)[1:])

    def _find(self, folder: str, names: Sequence[str]) -> str | None:
        if not names:
            return folder
        first, rest = names[0], names[1:]
        exact = os.path.join(folder, first)
        candidates = [exact] if os.path.lexists(exact) else []
        if not first.isascii():
            stored = self._listing(folder).get(composed(first), [])
            candidates += [os.path.join(folder, name) for name in stored if name != first]
        results = (self._find(candidate, rest) for candidate in candidates)
        return next((result for result in results if result is not None), None)


def composed(name: str) -> str:
    """A name with composed accents (NFC), for comparisons."""
    return unicodedata.normalize("NFC", name)


def stored_path(path: str | Path) -> Path:
    """The path under which a file or folder is stored; `path` itself if there is none."""
    path = expand_home(path)
    return path if path.exists() else Path(StoredNames().find(str(path)) or path)


def _by_composed_name(folder: str) -> Mapping[str, Sequence[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        entries = []
    for entry in entries:
        names[composed(entry)].append(entry)
    return names
