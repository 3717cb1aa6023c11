"""Fingerprints of the records in checkpoints: a training resumes only with the records that it began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.fingerprint import (
    RECORDS,
    differences,
    read_prints,
    record_prints,
    write_prints,
)
from dramaeval.data.records import Record
from dramaeval.errors import UserFacingError


class OtherRecordsError(UserFacingError, ValueError):
    """The training of a checkpoint began with other records."""


def text_of(splits: Mapping[str, Sequence[Record]], *, reads_audio: bool) -> str:
    """The fingerprints of the records of a training, as text for its checkpoints."""
    hashes = ContentHashes()
    return write_prints(
        {
            split: record_prints(records, hashes, reads_audio=reads_audio)
            for split, records in splits.items()
        }
    )


def other_records(checkpoint: Path, text: str) -> str | None:
    """Describe the differences between the records of a checkpoint and the records of this start; None without one.

    Args:
        checkpoint: the folder; a checkpoint of an earlier version has no fingerprints and is not compared.
        text: the result of `text_of` for the records of this start.
    """
    file = checkpoint / RECORDS
    if not file.is_file() or (saved := file.read_text(encoding="utf-8")) == text:
        return None
    before, now = read_prints(saved), read_prints(text)
    changes = [
        f"{split}: {change}"
        for split in ("train", "val")
        for change in differences(before.get(split, []), now.get(split, []))
    ]
    return (
        f"{checkpoint} was written in a training with other records. {'; '.join(changes)}. Restore them to resume the "
        "training, or start anew: leave out resume_from_checkpoint and give another output_dir."
    )
