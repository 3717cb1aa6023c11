"""Scoring: one forward pass a clip, a distribution over the scale for every question."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.evaluation.consistent_answers import Reading, longest_answer, settled
from dramaeval.evaluation.written_answers import (
    AnyPrediction,
    WrittenAnswer,
    write_answers,
    write_thoughts,
)
from dramaeval.models.devices import input_device
from dramaeval.models.errors import ModelError
from dramaeval.models.failures import (
    MemoryExhaustedError,
    failure_message,
    first_line,
    is_out_of_memory,
    parameters_of,
    size_of,
)
from dramaeval.models.forward.answer_distributions import (
    distributions,
    expected_scores,
    is_regression,
)
from dramaeval.models.forward.generation import (
    CachedGeneration,
    Continuation,
    UncachedGeneration,
    supports_cache,
)
from dramaeval.models.inputs.collation import Batch, EncodedRecord, collate
from dramaeval.models.inputs.record_encoder import RecordEncoder

__all__ = ["AnyPrediction", "distributions", "score"]

Progress = Callable[[int], None]


def score(
    model: Any,
    records: Sequence[Record],
    record_encoder: RecordEncoder,
    *,
    clips_a_batch: int = 8,
    shared_prefix: bool = True,
    skip_unreadable: bool = False,
    group_by: str = "character",
    progress: Progress | None = None,
    processes: Processes = SINGLE_PROCESS,
    writes_answers: bool = True,
) -> list[AnyPrediction]:
    """Score records on every dimension that their task asks for.

    The result does not depend on batch size, order or padding (to rounding), nor on any random state; nor, to
    the last bit, on how many processes share the work: they share out the batches that one would make.

    Args:
        model: the judge, an `AnsweringModel` or PEFT's wrapper around one, in evaluation mode.
        records: what to score.
        record_encoder: prepares them.
        clips_a_batch: records a forward pass.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
        skip_unreadable: a clip whose samples cannot be decoded is left unscored with its reason; else it
            raises `BadRecordsError`.
        group_by: record key that clusters the bootstrap.
        progress: called with the number of records just finished.
        processes: that call this together, with the same arguments; all get all predictions.
        writes_answers: whether multiple-choice questions are also answered in writing, where the task asks for
            it; their likelihoods do not depend on it.

    Returns:
        predictions in the order of the records and, within one, of its dimensions.
    """
    found: dict[int, list[AnyPrediction]] = {}
    # Clips of like length share a batch, so that little of it is padding; the order given is restored below.
    order = sorted(range(len(records)), key=lambda at: records[at].seconds, reverse=True)
    training = model.training
    model.eval()
    chunks = list(_chunks(order, clips_a_batch))
    passes = Passes(model, record_encoder.pad, shared_prefix, processes)
    for start in range(0, len(chunks), processes.count):
        turn = chunks[start : start + processes.count]
        chunk = turn[processes.rank] if processes.rank < len(turn) else ()
        replies = []
        for at in chunk:
            reply = WrittenAnswer(records[at], record_encoder, group_by)
            try:
                reply.prepare()
            except BadRecordsError as error:
                if not skip_unreadable:
                    raise
                reply.reason = f"unreadable clip: {error.problems[0].problem}"
            replies.append((at, reply))
        _answer(
            [one for _, one in replies if one.answerable], record_encoder, passes, writes_answers
        )
        found |= {at: reply.predictions() for at, reply in replies}
        if progress:
            progress(sum(map(len, turn)))
    model.train(training)
    for others in processes.gather(found):
        found |= others
    return [prediction for at in range(len(records)) for prediction in found[at]]


def _answer(
    replies: Sequence[WrittenAnswer],
    record_encoder: RecordEncoder,
    passes: Passes,
    writes_answers: bool,
) -> None:
    """Let the judge answer the questions of some records, in as many passes as it takes."""
    write_thoughts(replies, record_encoder.encoder, passes)
    mine = [one.encoded_record for one in replies if one.encoded_record is not None]
    always = 0
    if passes.sharded:
        stand_in = _stand_in(mine[0] if mine else None, passes.processes)
        mine = mine or stand_in
        always = max(passes.processes.gather(1 + longest_answer(mine)))
    if mine:
        for one, values in zip(replies, settled(mine, passes.read, always=always), strict=False):
            one.values = values
    if writes_answers:
        write_answers(replies, record_encoder.encoder, passes)


class Passes:
    """Forward passes of one judge in one layout.

    Args:
        model: the judge.
        pad: the padding token.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
        processes: that score together.
    """

    def __init__(self, model: Any, pad: int, shared_prefix: bool, processes: Processes) -> None:
        self.model = model
        self.pad = pad
        self.shared_prefix = shared_prefix
        self.processes = processes
        self.device = input_device(model)
        self.sharded = is_sharded(model)

    def read(self, encoded_records: Sequence[EncodedRecord]) -> list[Reading]:
        """For each encoded_record and question a distribution, or the value of a regression head."""
        rows = self._run(encoded_records, _distributions_or_values).double().numpy()
        left = iter(rows)
        return [
            [next(left) for _ in encoded_record.questions] for encoded_record in encoded_records
        ]

    def begin(self, encoded_records: Sequence[EncodedRecord]) -> Continuation:
        """Begin to write to each question.

        Raises:
            ModelError: the weights are split over processes, which cannot write together.
        """
        if self.sharded:
            raise ModelError(
                "zero=zero3 splits the weights, and a judge that writes takes a number of passes that "
                "differs from process to process: evaluate in a run of its own with zero=none, or let nothing "
                "be written (task.thought_in_scoring=skip or given, task.scoring=[likelihood])."
            )
        if not supports_cache(self.model):
            return UncachedGeneration(
                encoded_records,
                lambda some: self._run(some, lambda logits, batch: logits[batch.score_index]),
            )
        with torch.inference_mode():
            return CachedGeneration(self.model, encoded_records, self.pad, self.device)

    def _run(
        self,
        encoded_records: Sequence[EncodedRecord],
        take: Callable[[torch.Tensor, Batch], torch.Tensor],
    ) -> torch.Tensor:
        batch = collate(encoded_records, pad=self.pad, shared_prefix=self.shared_prefix)
        try:
            # Weights that are gathered in inference mode could not be trained afterwards.
            with torch.no_grad() if self.sharded else torch.inference_mode():
                moved = batch.to(self.device)
                return take(self.model(**moved.inputs).logits, moved).cpu()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            text = _memory_text(self.model, batch, error, self.shared_prefix)
            raise MemoryExhaustedError(text) from error


def is_sharded(model: Any) -> bool:
    """Whether ZeRO-3 has split the weights, so that every forward pass is one of all processes."""
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


def _stand_in(encoded_record: EncodedRecord | None, processes: Processes) -> list[EncodedRecord]:
    """Somebody's encoded_record for the processes that have none of their own; nothing where nobody has."""
    return [one for one in processes.gather(encoded_record) if one is not None][:1]


def _distributions_or_values(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    if is_regression(logits):
        return expected_scores(logits, batch)[:, None]
    return distributions(logits, batch)


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
    return failure_message("Out of memory while scoring.", facts, advice)


def _chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
