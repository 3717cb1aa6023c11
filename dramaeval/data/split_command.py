"""One file of records into splits that share no character, scene or clip.

    python -m dramaeval.data.split_command clips.jsonl        # clips.train.jsonl, .val and .test beside it
    python -m dramaeval.data.split_command clips.jsonl train=0.9 test=0.1 --seed 1
    python -m dramaeval.data.split_command clips.jsonl --apart character,system

Lines are copied as they stand; the files go beside the given one, so that relative clip paths stay true.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dramaeval.data.files import read_regular
from dramaeval.data.problems import BadRecordsError, counted
from dramaeval.data.record_format import RecordFormat
from dramaeval.data.records import read_records
from dramaeval.data.split import APART, SplitError, split_records

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def split_file(
    file: Path,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    apart: Sequence[str] = APART,
    *,
    audio_field: str = "wav_path",
    audio_root: str | None = None,
) -> dict[str, Path]:
    """Split a file's records into files beside it; returns the file of each split.

    Raises:
        BadRecordsError: the file, its ids or its clips are no good; ratings are not looked at.
        SplitError: a split would stay empty.
        FileExistsError: a file is there already.
    """
    fmt = RecordFormat(text_fields=(), annotated=False, audio_field=audio_field)
    records = read_records(file, fmt, audio_root=audio_root, max_seconds=float("inf")).records
    parts = split_records(records, shares, seed, apart)
    lines = read_regular(file).split(b"\n")  # as `read_lines` counts them
    files = {name: file.with_name(f"{file.stem}.{name}{file.suffix}") for name in parts}
    there = [str(one) for one in files.values() if one.exists()]
    if there:
        raise FileExistsError(f"{', '.join(there)}: there already. Move or delete what is there.")
    for name, part in parts.items():
        chosen = [lines[record.line - 1].rstrip(b"\r") + b"\n" for record in part]
        files[name].write_bytes(b"".join(chosen))
    return files


def _share(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} must be NAME=SHARE, like train=0.8") from None


def main(words: Sequence[str] | None = None) -> int:
    """Split a file and say what went where."""
    parser = argparse.ArgumentParser(
        prog="python -m dramaeval.data.split_command",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("shares", nargs="*", type=_share, metavar="NAME=SHARE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", default=",".join(APART), help="keys that no two splits share")
    parser.add_argument("--audio-field", default="wav_path")
    parser.add_argument("--audio-root", default=None, help="as task.data.audio_root")
    given = parser.parse_args(words)
    file = given.file.expanduser()
    try:
        files = split_file(
            file,
            dict(given.shares) or SHARES,
            given.seed,
            given.apart.split(","),
            audio_field=given.audio_field,
            audio_root=given.audio_root,
        )
    except (BadRecordsError, SplitError, FileExistsError, ValueError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 1
    for path in files.values():
        count = path.read_bytes().count(b"\n")
        print(f"{path}: {counted(count, 'record')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
