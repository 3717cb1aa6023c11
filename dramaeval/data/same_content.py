"""Finds files with the same bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dramaeval.data.files import map_files, open_regular


def same_content(clips: Iterable[Path], workers: int = 8) -> dict[Path, Path]:
    """Map each file to the first file in `clips` with the same bytes (often the file itself).

    Only files of equal size are read. A re-encoded copy is a different clip.
    """
    distinct = list(dict.fromkeys(clips))
    sizes = map_files(lambda clip: clip.stat().st_size, distinct, workers)
    counts = Counter(sizes.values())
    candidates = [clip for clip in distinct if counts[sizes[clip]] > 1]
    digests = map_files(content_digest, candidates, workers)
    first: dict[str, Path] = {}
    return {
        clip: first.setdefault(digests[clip], clip) if clip in digests else clip
        for clip in distinct
    }


def content_digest(clip: Path) -> str:
    """BLAKE2b of the file's bytes, 32 hex digits."""
    with open_regular(clip) as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
