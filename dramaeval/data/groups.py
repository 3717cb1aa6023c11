"""What records have in common: the character, the scene, the very same clip.

The keys serve to keep training and test apart (`splits`) and to cluster bootstrap draws.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dramaeval.data.records import Record

CLIP = "clip"
"""The group key of records whose clips have the same bytes."""

_FALLBACKS = {"character": ("character", "char_profile", "question"), "scene": ("local_scene",)}


def group_of(record: Record, key: str) -> str | None:
    """The group a record belongs to under `key`, or None where the record does not say.

    `character` is the name where there is one, else a hash of the profile, else of the question;
    `scene` is a hash of the local scene; any other key is the value of that key in the record.
    Space and case do not count. For `clip` see `group_records`, which has to read the files.
    """
    for name in _FALLBACKS.get(key, (key,)):
        value = record.fields.get(name)
        text = value if isinstance(value, str) else _canonical(value)
        text = " ".join(text.split()).casefold()
        if text:
            return text if name == key else f"{name}:{_digest(text.encode())}"
    return None


def group_records(records: Sequence[Record], key: str, workers: int = 8) -> list[str | None]:
    """`group_of` for each record; under `clip`, records with the same audio bytes share a group."""
    if key != CLIP:
        return [group_of(record, key) for record in records]
    contents = same_content([record.clip for record in records], workers)
    return [contents[record.clip] for record in records]


def same_content(clips: Iterable[Path], workers: int = 8) -> dict[Path, str]:
    """A label for each file, equal where two files have the same bytes.

    Only files of equal size are read. The labels compare files of one call; they are no address
    of the content (see `content_digest`). A re-encoded copy counts as another clip.
    """
    distinct = list(dict.fromkeys(clips))
    sizes = {clip: clip.stat().st_size for clip in distinct}
    often = Counter(sizes.values())
    twins = [clip for clip in distinct if often[sizes[clip]] > 1]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        digests = dict(zip(twins, pool.map(content_digest, twins), strict=True))
    return {clip: digests.get(clip, f"size:{sizes[clip]}") for clip in distinct}


def content_digest(clip: Path) -> str:
    """BLAKE2b of the file's bytes, 32 hex digits."""
    with clip.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _canonical(value: object) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
