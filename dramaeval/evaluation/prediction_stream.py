"""Scoring many clips into a file that grows: what is written is never lost, and never scored twice.

The lines of a record are written together, batch by batch, and flushed to the disk. A kill can therefore tear
the end of the file at most; taking the work up again keeps the records whose lines are all there, drops a torn
one and scores what is missing. The manifest of the folder lists how far the file was written, and with which
content: of a file that was damaged otherwise, what is whole is kept.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dramaeval.data.growing_file import GrowingFile, whole_part
from dramaeval.data.manifest import name_aside, write_listed
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.evaluation.predictions import Prediction, PredictionsError, prediction_line

log = logging.getLogger(__name__)

#: Batches that are sorted by length and scored before their lines are written. The same for any number of
#: processes, so that all of them score the same batches.
BATCHES_A_WRITE = 8


@dataclass
class Kept:
    """What an earlier start left behind: complete records and their lines; what is wrong with the rest."""

    ids: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    torn: bool = False
    damaged: bool = False


def take_up(
    path: Path,
    records: Sequence[Record],
    asked: Callable[[Record], int],
    processes: Processes = SINGLE_PROCESS,
) -> list[Record]:
    """Mend what an earlier start left behind, and tell which records are still to be scored.

    Args:
        path: the predictions file; made where it is not there.
        records: what is to be in it, each id once.
        asked: how many questions are asked about a record, hence how many lines it has.
        processes: that share the work; the first one reads and writes.

    Raises:
        PredictionsError: the file holds something else than scores of these records.
    """
    kept = processes.broadcast(_kept(path, records, asked) if processes.is_rank_zero else Kept())
    if kept.torn or kept.damaged:
        processes.on_rank_zero(lambda: _rewrite(path, kept))
    processes.on_rank_zero(path.touch)
    return [record for record in records if record.id not in kept.ids]


def stream(
    path: Path,
    records: Sequence[Record],
    score: Callable[[Sequence[Record]], Sequence[Prediction]],
    *,
    clips_a_batch: int,
    processes: Processes = SINGLE_PROCESS,
) -> None:
    """Score records and append their predictions to the file, a few batches at a time.

    Args:
        path: the predictions file.
        records: see `take_up`.
        score: scores records; all processes call it together and get all predictions.
        clips_a_batch: records a forward pass.
        processes: that share the work; the first one writes.
    """
    file = GrowingFile(path) if processes.is_rank_zero else None
    for window in _windows(records, clips_a_batch * BATCHES_A_WRITE):
        found = list(score(window))
        if file:
            file.append("".join(prediction_line(one) + "\n" for one in found))
    if file:
        file.close()


def _kept(path: Path, records: Sequence[Record], asked: Callable[[Record], int]) -> Kept:
    """Read what is there; only its last lines may be torn or incomplete."""
    wanted = {record.id: asked(record) for record in records}
    # Records about which nothing is asked have no lines; they are done as they are.
    kept = Kept(ids={name for name, count in wanted.items() if count == 0})
    if not path.is_file():
        return kept
    content = path.read_bytes()
    whole = whole_part(path, content)
    kept.damaged = whole is not None
    lines = content[:whole].decode("utf-8", errors="replace").split("\n")
    kept.torn = lines[-1] != ""  # a whole line ends with a break
    of_record: dict[str, list[str]] = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            prediction = Prediction.from_json(json.loads(line))
        except ValueError as error:
            raise PredictionsError(
                f"{path}, line {number}: {error}. Restore the file or remove it."
            ) from None
        if prediction.id not in wanted:
            raise PredictionsError(
                f"{path}, line {number}: {prediction.id} is not among the records of the input. Choose another "
                "folder (hydra.run.dir=…) for another input."
            )
        of_record.setdefault(prediction.id, []).append(line)
    for name, own in of_record.items():
        if len(own) == wanted[name]:
            kept.ids.add(name)
            kept.lines += own
        else:
            kept.torn = True
    return kept


def _rewrite(path: Path, kept: Kept) -> None:
    if kept.damaged:
        aside = name_aside(path)
        shutil.copyfile(path, aside)
        log.warning(
            "%s is damaged: it has other bytes than were written. %d lines before them are kept, the others "
            "are scored again; %s has the file as it was.",
            path,
            len(kept.lines),
            aside.name,
        )
    write_listed(path, "".join(line + "\n" for line in kept.lines))


def _windows(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]
