"""Keeping training and test apart: splits that share nothing, and overlaps that are reported."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dramaeval.data.problems import counted, line_list, printable
from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_records

APART = ("character", "scene", "clip")
"""What training and test must not share: a character, a scene, a source clip."""


class SplitError(Exception):
    """The records cannot be split as asked without sharing a group; says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """One thing that training and test share, with the lines on both sides."""

    key: str
    group: str
    train_lines: tuple[int, ...]
    test_lines: tuple[int, ...]

    def __str__(self) -> str:
        group = self.group if len(self.group) <= 80 else self.group[:79] + "…"
        return (
            f"same {self.key} ({printable(group)}): train {line_list(self.train_lines)}, "
            f"test {line_list(self.test_lines)}"
        )


def overlap(
    train: Sequence[Record],
    test: Sequence[Record],
    keys: Sequence[str] = APART,
    workers: int = 8,
) -> list[Overlap]:
    """Everything that occurs in both sets under one of the keys, by key, then by first test line.

    A record that does not have a key overlaps with nothing under it.
    """
    found = []
    for key in keys:
        groups = group_records([*train, *test], key, workers)
        in_train = _lines_by_group(train, groups[: len(train)])
        in_test = _lines_by_group(test, groups[len(train) :])
        found += [
            Overlap(
                key=key, group=group, train_lines=tuple(in_train[group]), test_lines=tuple(lines)
            )
            for group, lines in in_test.items()
            if group in in_train
        ]
    return found


def split_records(
    records: Sequence[Record],
    shares: Mapping[str, float],
    seed: int,
    group_by: Sequence[str] = APART,
    workers: int = 8,
) -> dict[str, list[Record]]:
    """Split records into named parts of about the given shares which share no group.

    Records linked by a common group under any key of `group_by`, also through others, go to one
    part together, largest family first to the part that lacks most. The result depends on the
    records' ids and the seed, not on their order; each part keeps the order of `records`.

    Raises SplitError where a part would stay empty, ValueError for shares that make no sense.
    """
    if not shares or not all(0 < share < math.inf for share in shares.values()):
        raise ValueError(f"shares must be positive numbers, not {dict(shares)}")
    families = _families(records, group_by, workers)
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
    empty = [name for name, part in parts.items() if not part]
    if empty:
        largest = len(families[0]) if families else 0
        raise SplitError(
            f"nothing is left for {', '.join(empty)}: {counted(len(records), 'record')} form "
            f"{counted(len(families), 'group')} that share no {', no '.join(group_by)} "
            f"(the largest has {largest}); give more records, fewer parts, or fewer keys to keep "
            "apart"
        )
    return parts


def _lines_by_group(
    records: Sequence[Record], groups: Sequence[str | None]
) -> dict[str, list[int]]:
    lines: dict[str, list[int]] = {}
    for record, group in zip(records, groups, strict=True):
        if group is not None:
            lines.setdefault(group, []).append(record.line)
    return lines


def _families(records: Sequence[Record], keys: Sequence[str], workers: int) -> list[list[int]]:
    """Indices of records that hang together, directly or through others (union-find)."""
    parent = list(range(len(records)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for key in keys:
        first: dict[str, int] = {}
        for index, group in enumerate(group_records(records, key, workers)):
            if group is not None:
                parent[root(index)] = root(first.setdefault(group, index))
    families: dict[int, list[int]] = {}
    for index in range(len(records)):
        families.setdefault(root(index), []).append(index)
    return list(families.values())
