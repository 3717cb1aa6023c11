"""Scoring: one forward pass a clip, a distribution over the scale for every question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dramaeval.cluster.processes import ALONE, Processes
from dramaeval.data.groups import group_of
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.models.batch import NO_SCORE, Batch, Sheet, collate
from dramaeval.models.loading import input_device
from dramaeval.models.sheets import SheetMaker
from dramaeval.models.trouble import (
    MemoryExhaustedError,
    first_line,
    is_out_of_memory,
    parameters_of,
    size_of,
    told,
)
from dramaeval.tasks.rubric import Dimension

Progress = Callable[[int], None]


def distributions(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Softmax over each question's scale at its score position.

    Args:
        logits: ``[answers, vocabulary]``, of the batch's answer positions.
        batch: says which answers are scores and which tokens stand for them.

    Returns:
        float32 ``[questions, longest scale]``; places past a shorter scale hold 0.
    """
    at_scores = logits[batch.score_at].float()
    chosen = at_scores.gather(1, batch.score_tokens.clamp(min=0))
    return chosen.masked_fill(batch.score_tokens == NO_SCORE, -torch.inf).softmax(dim=-1)


def score(
    model: Any,
    records: Sequence[Record],
    sheets: SheetMaker,
    *,
    clips_a_batch: int = 8,
    shared_prefix: bool = True,
    skip_unreadable: bool = False,
    group_by: str = "character",
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> list[Prediction]:
    """Score records on every dimension that their task asks for.

    The result does not depend on batch size, order or padding (to rounding), nor on any random state; nor, to
    the last bit, on how many processes share the work: they share out the batches that one would make.

    Args:
        model: the judge, an `AnsweringModel` or PEFT's wrapper around one, in evaluation mode.
        records: what to score.
        sheets: prepares them.
        clips_a_batch: records a forward pass.
        shared_prefix: see `dramaeval.models.batch.collate`.
        skip_unreadable: a clip whose samples cannot be decoded is left unscored with its reason; else it
            raises `BadRecordsError`.
        group_by: record key that clusters the bootstrap.
        progress: called with the number of records just finished.
        processes: that call this together, with the same arguments; all get all predictions.

    Returns:
        predictions in the order of the records and, within one, of its dimensions.
    """
    device = input_device(model)
    found: dict[int, list[Prediction]] = {}
    # Clips of like length share a batch, so that little of it is padding; the order given is restored below.
    order = sorted(range(len(records)), key=lambda at: records[at].seconds, reverse=True)
    training = model.training
    model.eval()
    chunks = list(_chunks(order, clips_a_batch))
    sharded = is_sharded(model)
    for start in range(0, len(chunks), processes.count):
        turn = chunks[start : start + processes.count]
        chunk = turn[processes.rank] if processes.rank < len(turn) else ()
        ready: list[tuple[int, Sheet, tuple[Dimension, ...]]] = []
        for at in chunk:
            asked = sheets.task.asked(records[at])
            if not asked:
                found[at] = []
                continue
            try:
                ready.append((at, sheets.sheet(records[at], asked), asked))
            except BadRecordsError as error:
                if not skip_unreadable:
                    raise
                state = f"unreadable clip: {error.problems[0].problem}"
                found[at] = [_unscored(records[at], one, sheets, state, group_by) for one in asked]
        mine = [sheet for _, sheet, _ in ready]
        if sharded and not mine:
            mine = _stand_in(None, processes)
        elif sharded:
            _stand_in(mine[0], processes)
        if mine:
            answers = iter(_answer(model, mine, sheets.pad, shared_prefix, device, sharded=sharded))
            for at, _, asked in ready:
                found[at] = [
                    _prediction(records[at], one, next(answers), sheets, group_by) for one in asked
                ]
        if progress:
            progress(sum(map(len, turn)))
    model.train(training)
    for others in processes.collect(found):
        found |= others
    return [prediction for at in range(len(records)) for prediction in found[at]]


def is_sharded(model: Any) -> bool:
    """Whether ZeRO-3 has split the weights, so that every forward pass is one of all processes."""
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


def _stand_in(sheet: Sheet | None, processes: Processes) -> list[Sheet]:
    """Somebody's sheet for the processes that have none of their own; nothing where nobody has."""
    return [one for one in processes.collect(sheet) if one is not None][:1]


def _answer(
    model: Any,
    sheets: list[Sheet],
    pad: int,
    shared_prefix: bool,
    device: torch.device,
    *,
    sharded: bool = False,
) -> np.ndarray:
    batch = collate(sheets, pad=pad, shared_prefix=shared_prefix)
    try:
        return _distributions_of(model, batch.to(device), sharded)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryExhaustedError(_memory_text(model, batch, error, shared_prefix)) from error


def _distributions_of(model: Any, batch: Batch, sharded: bool) -> np.ndarray:
    # Weights that are gathered in inference mode could not be trained afterwards.
    with torch.no_grad() if sharded else torch.inference_mode():
        return distributions(model(**batch.inputs).logits, batch).cpu().double().numpy()


def _memory_text(model: Any, batch: Batch, error: BaseException, shared_prefix: bool) -> str:
    facts = [
        f"batch: {size_of(batch)}",
        f"model: {parameters_of(model)}",
        f"allocator: {first_line(error)}",
    ]
    advice = [] if shared_prefix else ["batch.shared_prefix=true: the same scores, less memory"]
    if batch.clips > 1:
        advice.append(
            f"batch.eval_clips={batch.clips // 2}: the same scores, fewer clips at a time"
        )
    advice.append("model.dtype=bfloat16 on a GPU: half the weights, scores rounded")
    advice.append("task.data.max_seconds=15 task.data.on_long=trim: longer clips are cut")
    return told("Out of memory while scoring.", facts, advice)


def _chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _prediction(
    record: Record, dimension: Dimension, row: np.ndarray, sheets: SheetMaker, group_by: str
) -> Prediction:
    share = row[: len(dimension.scale)]
    if not np.isfinite(share).all():
        return _unscored(
            record, dimension, sheets, "the judge's distribution is not finite", group_by
        )
    return Prediction(
        id=record.id,
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=tuple(float(p) for p in share),
        expected=float(np.dot(share, dimension.scale)),
        ratings=sheets.task.ratings(record, dimension),
        state=SCORED,
        group=group_of(record, group_by),
        system=record.system,
    )


def _unscored(
    record: Record, dimension: Dimension, sheets: SheetMaker, state: str, group_by: str
) -> Prediction:
    return Prediction(
        id=record.id,
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=None,
        expected=None,
        ratings=sheets.task.ratings(record, dimension),
        state=state,
        group=group_of(record, group_by),
        system=record.system,
    )
