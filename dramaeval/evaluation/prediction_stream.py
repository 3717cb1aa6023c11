"""Appends predictions to a file while clips are scored, so that an interrupted run can resume.

The lines of a record are written together, batch by batch, and flushed to the disk. An interruption can
therefore damage only the end of the file. A resumed run keeps the records whose lines are complete, drops an
incomplete record and scores the missing ones. The manifest of the folder lists the length and a checksum of the
file; if a file is damaged before its end, only the part before the damage is kept.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.data.growing_file import GrowingFile, undamaged_bytes
from dramaeval.data.manifest import name_aside, write_listed
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.evaluation.pair_predictions import PairPrediction, is_pair_line
from dramaeval.evaluation.predictions import Prediction, PredictionsError, prediction_line

log = logging.getLogger(__name__)

#: Number of batches that are sorted by length and scored before their lines are written. It does not depend on
#: the number of processes, so that the batches do not either.
BATCHES_A_WRITE = 8


Streamed = Prediction | PairPrediction
"""A prediction about a record with one clip or two clips."""


@dataclass
class Kept:
    """The usable content of an existing file.

    Attributes:
        ids: the records whose lines are complete.
        lines: the lines of these records.
        torn: whether the file also has an incomplete line or record.
        damaged: whether the file differs from its checksum in the manifest.
    """

    ids: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    torn: bool = False
    damaged: bool = False


def resume(
    path: Path,
    records: Sequence[Record],
    line_count: Callable[[Record], int],
    processes: Processes = SINGLE_PROCESS,
) -> list[Record]:
    """Repair an existing predictions file, and return the records that are not scored yet.

    Args:
        path: the predictions file; it is created if it does not exist.
        records: the records to score; ids are unique.
        line_count: returns the number of questions about a record, which is its number of lines.
        processes: the processes that share the work; the first one reads and writes.

    Raises:
        PredictionsError: the file contains anything other than predictions of these records.
    """
    kept = processes.broadcast(
        _kept(path, records, line_count) if processes.is_rank_zero else Kept()
    )
    if kept.torn or kept.damaged:
        processes.on_rank_zero(lambda: _rewrite(path, kept))
    processes.on_rank_zero(path.touch)
    return [record for record in records if record.id not in kept.ids]


def stream(
    path: Path,
    records: Sequence[Record],
    score: Callable[[Sequence[Record]], Sequence[Streamed]],
    *,
    clips_a_batch: int,
    processes: Processes = SINGLE_PROCESS,
) -> None:
    """Score records and append their predictions to the file, a few batches at a time.

    Args:
        path: the predictions file.
        records: the records that `resume` returns.
        score: scores records; all processes call it together, and each gets all predictions.
        clips_a_batch: records per forward pass.
        processes: the processes that share the work; the first one writes.
    """
    file = GrowingFile(path) if processes.is_rank_zero else None
    window = clips_a_batch * BATCHES_A_WRITE
    for start in range(0, len(records), window):
        predictions = score(records[start : start + window])
        if file:
            file.append("".join(prediction_line(prediction) + "\n" for prediction in predictions))
    if file:
        file.close()


def _kept(path: Path, records: Sequence[Record], line_count: Callable[[Record], int]) -> Kept:
    """Read an existing file; only its last lines may be incomplete."""
    wanted = {record.id: line_count(record) for record in records}
    # Records without questions have no lines and need no scoring.
    kept = Kept(ids={name for name, count in wanted.items() if count == 0})
    if not path.is_file():
        return kept
    content = path.read_bytes()
    undamaged = undamaged_bytes(path, content)
    kept.damaged = undamaged is not None
    lines = content[:undamaged].decode("utf-8", errors="replace").split("\n")
    kept.torn = lines[-1] != ""  # a complete line ends with a line break
    lines_by_id: dict[str, list[str]] = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            prediction = _from_json(json.loads(line))
        except ValueError as error:
            raise PredictionsError(
                f"{path}, line {number}: {error}. Restore the file or remove it."
            ) from None
        if prediction.id not in wanted:
            raise PredictionsError(
                f"{path}, line {number}: {prediction.id} is not among the records of the input. Choose another "
                "folder (hydra.run.dir=…) for another input."
            )
        lines_by_id.setdefault(prediction.id, []).append(line)
    for name, record_lines in lines_by_id.items():
        if len(record_lines) == wanted[name]:
            kept.ids.add(name)
            kept.lines += record_lines
        else:
            kept.torn = True
    return kept


def _from_json(values: Any) -> Streamed:
    return (PairPrediction if is_pair_line(values) else Prediction).from_json(values)


def _rewrite(path: Path, kept: Kept) -> None:
    if kept.damaged:
        aside = name_aside(path)
        shutil.copyfile(path, aside)
        log.warning(
            "%s is damaged: it has other bytes than were written. %d lines before the damage are kept, the "
            "others are scored again; %s is a copy of the damaged file.",
            path,
            len(kept.lines),
            aside.name,
        )
    write_listed(path, "".join(line + "\n" for line in kept.lines))
