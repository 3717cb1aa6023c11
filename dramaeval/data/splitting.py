"""Splits records into train, validation and test parts, and reports what two parts share.

    python -m dramaeval.data.splitting clips.jsonl        # clips.train.jsonl, .val and .test beside it
    python -m dramaeval.data.splitting clips.jsonl train=0.9 test=0.1 --seed 1
    python -m dramaeval.data.splitting clips.jsonl --apart character,system

The command copies lines unchanged and writes the files into the input's folder, so that relative clip paths stay valid.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from dramaeval.config.home_folder import expand_home
from dramaeval.data.files import read_regular
from dramaeval.data.pair_format import CLIP_A, CLIP_B, is_pair
from dramaeval.data.problems import BadRecordsError, counted, cut, line_list, printable
from dramaeval.data.record_format import RecordFormat
from dramaeval.data.records import Record, checked_lines, read_records
from dramaeval.data.shared_content import group_of, group_records
from dramaeval.startup import accept_any_text

log = logging.getLogger(__name__)

APART = ("character", "scene", "clip")
"""Keys of characters, scenes and clip bytes, whose values must not be in both training and test."""

TRANSCRIPT = "transcript"
"""A further such key if several systems speak the same texts."""

MOST_SHOWN = 80
"""Number of characters of a shared text that a message shows."""

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


class SplitError(Exception):
    """The records cannot be split so that no two parts share a group.

    Attributes:
        apart: fewer keys with which every part gets records; empty if there are none.
    """

    def __init__(self, reason: str, apart: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.apart = tuple(apart)

    def advice(self, option: str) -> str:
        """The reason, and how to change the split; `option` sets the keys, such as ``--apart {}``."""
        if not self.apart:
            return f"{self}. Give more records or fewer parts."
        return f"{self}. With fewer keys apart every part has records: {option.format(','.join(self.apart))}."


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A group that training and test share, with the line numbers of its records in each file."""

    key: str
    group: str
    train_lines: tuple[int, ...]
    test_lines: tuple[int, ...]


def overlap_remarks(overlaps: Sequence[Overlap], name: str) -> list[str]:
    """One sentence per key about the groups that training and the held-out split `name` share."""
    by_key: dict[str, list[Overlap]] = {}
    for shared in overlaps:
        by_key.setdefault(shared.key, []).append(shared)
    return [_remark(key, groups, name) for key, groups in by_key.items()]


def _remark(key: str, groups: Sequence[Overlap], name: str) -> str:
    texts = [printable(shared.group) for shared in groups[:2]]
    examples = " and ".join(cut(text, MOST_SHOWN) for text in texts)
    lines = line_list(line for shared in groups for line in shared.test_lines)
    train_lines = line_list(line for shared in groups for line in shared.train_lines)
    shown = f"({examples})" if len(groups) <= 2 else f"(such as {examples})"
    return (
        f"{name} and train share {counted(len(groups), key)} {shown}: "
        f"{lines} of {name}, {train_lines} of train"
    )


def default_keys(records: Sequence[Record]) -> tuple[str, ...]:
    """`APART`, and `TRANSCRIPT` if several systems speak the same text.

    Otherwise, in a corpus of systems × sentences, a judge would be tested on sentences of its training.
    """
    systems: dict[str, set[str]] = {}
    for record in records:
        text, system = group_of(record, TRANSCRIPT), group_of(record, "system")
        if text and system:
            systems.setdefault(text, set()).add(system)
    return (*APART, TRANSCRIPT) if any(len(names) > 1 for names in systems.values()) else APART


def overlap(
    train: Sequence[Record], test: Sequence[Record], keys: Sequence[str] | None = None
) -> list[Overlap]:
    """The groups that occur in both sets under one of the keys, by key, then by first test line.

    A record without a value for a key has no overlap under that key. Without `keys`, `default_keys` of both sets
    together are used.
    """
    overlaps = []
    for key in default_keys([*train, *test]) if keys is None else keys:
        groups = group_records([*train, *test], key)
        in_train = _lines_by_group(train, groups[: len(train)])
        in_test = _lines_by_group(test, groups[len(train) :])
        overlaps += [
            Overlap(
                key=key, group=group, train_lines=tuple(in_train[group]), test_lines=tuple(lines)
            )
            for group, lines in in_test.items()
            if group in in_train
        ]
    return overlaps


def split_records(
    records: Sequence[Record],
    shares: Mapping[str, float],
    seed: int,
    group_by: Sequence[str] | None = None,
) -> dict[str, list[Record]]:
    """Split records into named parts of about the requested shares that have no group in common.

    Records that share a group under any key of `group_by` (by default `default_keys`), directly or through other
    records, form a family and go to the same part. The largest family is assigned first, to the part with the most
    missing records. The result depends on the records' ids and the seed, not on their order; each part has the
    order of `records`.

    Raises:
        SplitError: a part would stay empty.
        ValueError: a share is not a positive number.
    """
    if not shares or not all(0 < share < math.inf for share in shares.values()):
        raise ValueError(f"shares must be positive numbers, not {dict(shares)}")
    group_by = default_keys(records) if group_by is None else group_by
    groups = {key: group_records(records, key) for key in group_by}
    parts, families = _assigned(records, groups, shares, seed)
    empty = [name for name, part in parts.items() if not part]
    if not empty:
        return parts
    values = {key: len(set(names) - {None}) for key, names in groups.items()}
    counts = ", ".join(f"{key} ({count:,})" for key, count in values.items() if count)
    largest = max(map(len, families), default=0)
    raise SplitError(
        f"nothing is left for {', '.join(empty)}: records that share a {counts or 'key'} stay together, also "
        f"through other records, and {counted(len(records), 'record')} form {counted(len(families), 'group')} "
        f"(the largest has {largest})",
        _fewer_keys(records, groups, shares, seed),
    )


def _assigned(
    records: Sequence[Record],
    groups: Mapping[str, Sequence[str | None]],
    shares: Mapping[str, float],
    seed: int,
) -> tuple[dict[str, list[Record]], list[list[int]]]:
    """The records of each part, which may be empty, and the families."""
    families = _families(len(records), groups.values())
    families.sort(key=lambda family: min(records[index].id for index in family))
    random.Random(seed).shuffle(families)
    families.sort(key=len, reverse=True)
    wanted = {name: share / sum(shares.values()) * len(records) for name, share in shares.items()}
    part_of: dict[int, str] = {}
    for family in families:
        part = max(wanted, key=lambda name: wanted[name])
        wanted[part] -= len(family)
        part_of.update(dict.fromkeys(family, part))
    parts: dict[str, list[Record]] = {name: [] for name in shares}
    for index, record in enumerate(records):
        parts[part_of[index]].append(record)
    return parts, families


def _fewer_keys(
    records: Sequence[Record],
    groups: Mapping[str, Sequence[str | None]],
    shares: Mapping[str, float],
    seed: int,
) -> tuple[str, ...]:
    """As many keys as possible with which every part gets records, preferably with clip and character; else empty."""
    used = [key for key, names in groups.items() if any(name is not None for name in names)]
    for count in range(len(used) - 1, 0, -1):
        choices = sorted(
            combinations(used, count),
            key=lambda keys: ("clip" not in keys, "character" not in keys),
        )
        for keys in choices:
            parts, _ = _assigned(records, {key: groups[key] for key in keys}, shares, seed)
            if all(parts.values()):
                return keys
    return ()


def _lines_by_group(
    records: Sequence[Record], groups: Sequence[str | None]
) -> dict[str, list[int]]:
    lines: dict[str, list[int]] = {}
    for record, group in zip(records, groups, strict=True):
        if group is not None:
            lines.setdefault(group, []).append(record.line)
    return lines


def _families(count: int, groups: Iterable[Sequence[str | None]]) -> list[list[int]]:
    """Lists of indices of records that share a group, directly or through other records.

    `groups` has the group of each of the `count` records, for each key.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = [], []
    for group_by_record in groups:
        first: dict[str, int] = {}
        for index, group in enumerate(group_by_record):
            if group is not None:
                rows.append(index)
                columns.append(first.setdefault(group, index))
    links = coo_array(([True] * len(rows), (rows, columns)), shape=(count, count))
    families: dict[int, list[int]] = {}
    for index, family in enumerate(connected_components(links, directed=False)[1].tolist()):
        families.setdefault(family, []).append(index)
    return list(families.values())


def split_file(
    file: Path,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    apart: Sequence[str] | None = None,
    *,
    audio_field: str = "wav_path",
    audio_root: str | None = None,
    report: Callable[[str], None] = log.info,
) -> dict[str, Path]:
    """Split a file's records into files in the same folder; returns the file of each split.

    Args:
        file: the JSONL file.
        shares: the share of each part.
        seed: see `split_records`.
        apart: keys whose values no two parts share; None for `default_keys`.
        audio_field: key of the clip; for pairs, see `dramaeval.data.pair_format`.
        audio_root: folder of the clips.
        report: receives a sentence about the keys whose values no two parts share.

    Raises:
        BadRecordsError: the file, its ids or its clips cannot be used; ratings are not checked.
        SplitError: a split would be empty.
        FileExistsError: an output file already exists.
        OSError: an output file cannot be written, for example on a full disk; the others are removed.
    """
    fmt = RecordFormat(text_fields=(), annotated=False, audio_field=audio_field)
    if any(line.fields and is_pair(line.fields) for line in checked_lines(file)[:1]):
        fmt = replace(fmt, audio_field=CLIP_A, second_audio_field=CLIP_B)
    records = read_records(file, fmt, audio_root=audio_root, max_seconds=math.inf).records
    keys = default_keys(records) if apart is None else apart
    parts = split_records(records, shares, seed, keys)
    lines = read_regular(file).split(b"\n")  # counted as in `jsonl.read_lines`
    files = {name: file.with_name(f"{file.stem}.{name}{file.suffix}") for name in parts}
    existing = [str(path) for path in files.values() if path.exists()]
    if existing:
        raise FileExistsError(f"{', '.join(existing)}: the file exists already. Move or delete it.")
    try:
        for name, part in parts.items():
            chosen = [lines[record.line - 1].rstrip(b"\r") + b"\n" for record in part]
            files[name].write_bytes(b"".join(chosen))
    except OSError:
        for path in files.values():
            path.unlink(missing_ok=True)  # an existing file would stop the next attempt
        raise
    report(_apart_sentences(records, keys, same_texts=apart is None and TRANSCRIPT in keys))
    return files


def _apart_sentences(records: Sequence[Record], keys: Sequence[str], *, same_texts: bool) -> str:
    """Sentences about the keys whose values no two parts share, with the number of groups under each key."""
    counts = {key: len(set(group_records(records, key)) - {None}) for key in keys}
    used = ", ".join(f"{key} ({count:,})" for key, count in counts.items() if count)
    unused = " or ".join(key for key, count in counts.items() if not count)
    sentences = [f"No two parts share a {used or 'key'}."]
    if same_texts:
        sentences.append("Several systems say the same texts, so the transcript counts too.")
    if unused:
        sentences.append(f"No record has a {unused}.")
    return " ".join(sentences)


def _share(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=SHARE, like train=0.8") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Split a file and print the number of records in each part."""
    parser = argparse.ArgumentParser(
        prog="python -m dramaeval.data.splitting",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("shares", nargs="*", type=_share, metavar="NAME=SHARE")
    parser.add_argument("--seed", type=int, default=0)
    default = f"{','.join(APART)}, and {TRANSCRIPT} if several systems say the same texts"
    parser.add_argument("--apart", help=f"keys that no two splits share (default: {default})")
    parser.add_argument("--audio-field", default="wav_path")
    parser.add_argument("--audio-root", default=None, help="as task.data.audio_root")
    accept_any_text()
    arguments = parser.parse_args(argv)
    file = expand_home(arguments.file)
    try:
        files = split_file(
            file,
            dict(arguments.shares) or SHARES,
            arguments.seed,
            arguments.apart.split(",") if arguments.apart else None,
            audio_field=arguments.audio_field,
            audio_root=arguments.audio_root,
            report=print,
        )
    except SplitError as error:
        print(f"{file}: {error.advice('--apart {}')}", file=sys.stderr)
        return 1
    except (BadRecordsError, FileExistsError, ValueError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{error.filename or file.parent}: {error.strerror}. Nothing was split.",
            file=sys.stderr,
        )
        return 1
    for path in files.values():
        count = path.read_bytes().count(b"\n")
        print(f"{path}: {counted(count, 'record')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
