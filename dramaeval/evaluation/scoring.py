"""Scores records: a distribution over the scale for every question, with one forward pass per batch of clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from dramaeval.compat.deepspeed import is_partitioned
from dramaeval.compat.torch import is_out_of_memory
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.evaluation.consistent_answers import AnswerValues, consistent_values, longest_answer
from dramaeval.evaluation.record_reply import (
    AnyPrediction,
    RecordReply,
    write_answers,
    write_thoughts,
)
from dramaeval.models.devices import input_device
from dramaeval.models.errors import ModelError
from dramaeval.models.failures import (
    MemoryExhaustedError,
    failure_message,
    first_line,
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
    keep_thoughts: bool = False,
) -> list[AnyPrediction]:
    """Score records on every dimension of their task.

    Batch size, order and padding change the result only by rounding. The result does not depend on a random state, and
    it is identical to the last bit for any number of processes, because these share the batches of a single process.

    Args:
        model: the judge, a `JudgeModel` or PEFT's wrapper around one, in evaluation mode.
        records: the records to score.
        record_encoder: prepares the records.
        clips_a_batch: records per forward pass.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
        skip_unreadable: a clip that cannot be decoded is left unscored with the reason; otherwise it raises
            `BadRecordsError`.
        group_by: key of the records that clusters the bootstrap.
        progress: called with the number of records just finished.
        processes: the processes that call this function together, with the same arguments; each gets all predictions.
        writes_answers: whether the judge also writes answers to multiple-choice questions, if the task requests it;
            the likelihoods of the options do not depend on this.
        keep_thoughts: whether predictions have the texts of generated thoughts.

    Returns:
        predictions in the order of the records; those of one record are in the order of its dimensions.
    """
    predictions: dict[int, list[AnyPrediction]] = {}
    # Clips of similar length share a batch, so that padding is small; the order of the records is restored below.
    order = sorted(
        range(len(records)), key=lambda index: records[index].total_seconds, reverse=True
    )
    training = model.training
    model.eval()
    chunks = [order[start : start + clips_a_batch] for start in range(0, len(order), clips_a_batch)]
    passes = Passes(model, record_encoder.pad, shared_prefix, processes)
    for start in range(0, len(chunks), processes.count):
        batches = chunks[start : start + processes.count]
        chunk = batches[processes.rank] if processes.rank < len(batches) else ()
        replies: dict[int, RecordReply] = {}
        for index in chunk:
            reply = replies[index] = RecordReply(
                records[index], record_encoder, group_by, keep_thoughts=keep_thoughts
            )
            try:
                reply.prepare()
            except BadRecordsError as error:
                if not skip_unreadable:
                    raise
                reply.reason = f"unreadable clip: {error.problems[0].problem}"
        answerable = [reply for reply in replies.values() if reply.encoded_record is not None]
        _answer(answerable, record_encoder, passes, writes_answers)
        predictions |= {index: reply.predictions() for index, reply in replies.items()}
        if progress:
            progress(sum(map(len, batches)))
    model.train(training)
    for others in processes.gather(predictions):
        predictions |= others
    return [prediction for index in range(len(records)) for prediction in predictions[index]]


def _answer(
    replies: Sequence[RecordReply],
    record_encoder: RecordEncoder,
    passes: Passes,
    writes_answers: bool,
) -> None:
    """Answer the questions about some records, in as many forward passes as needed."""
    write_thoughts(replies, record_encoder.encoder, passes)
    encoded = [reply.encoded_record for reply in replies if reply.encoded_record is not None]
    passes_required = 0
    if passes.sharded:
        # A process without records scores the record of another process.
        gathered = passes.processes.gather(encoded[0] if encoded else None)
        encoded = encoded or [record for record in gathered if record is not None][:1]
        passes_required = max(passes.processes.gather(1 + longest_answer(encoded)))
    if encoded:
        values = consistent_values(encoded, passes.read, passes_required=passes_required)
        # The values of another process's record belong to no reply.
        for reply, reply_values in zip(replies, values, strict=False):
            reply.values = reply_values
    if writes_answers:
        write_answers(replies, record_encoder.encoder, passes)


class Passes:
    """Runs forward passes of a judge, with or without a shared prefix.

    Args:
        model: the judge.
        pad: the padding token.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
        processes: the processes that score together.
    """

    def __init__(self, model: Any, pad: int, shared_prefix: bool, processes: Processes) -> None:
        self.model = model
        self.pad = pad
        self.shared_prefix = shared_prefix
        self.processes = processes
        self.device = input_device(model)
        self.sharded = is_partitioned(model)

    def read(self, encoded_records: Sequence[EncodedRecord]) -> list[AnswerValues]:
        """Run one pass: for each record and question, a distribution or the value of a regression head."""
        rows = self._run(encoded_records, _distributions_or_values).double().numpy()
        remaining = iter(rows)
        return [[next(remaining) for _ in record.all_questions] for record in encoded_records]

    def begin(self, encoded_records: Sequence[EncodedRecord], copies: int = 1) -> Continuation:
        """Start to generate ``copies`` answers to each question; each prompt is computed once.

        Raises:
            ModelError: the weights are split over processes, which cannot generate together.
        """
        if self.sharded:
            raise ModelError(
                "zero=zero3 splits the weights, and a judge that generates text needs a number of passes that "
                "differs from process to process: evaluate in a separate run with zero=none, or generate nothing "
                "(task.thought_in_scoring=skip or given, task.scoring=[likelihood])."
            )
        if not supports_cache(self.model):
            return UncachedGeneration(
                encoded_records,
                lambda records: self._run(records, lambda logits, batch: logits[batch.score_index]),
                copies,
            )
        with torch.inference_mode():
            return CachedGeneration(self.model, encoded_records, self.pad, self.device, copies)

    def _run(
        self,
        encoded_records: Sequence[EncodedRecord],
        take: Callable[[torch.Tensor, Batch], torch.Tensor],
    ) -> torch.Tensor:
        batch = collate(encoded_records, pad=self.pad, shared_prefix=self.shared_prefix)
        try:
            # Weights that are gathered in inference mode cannot be trained afterwards.
            with torch.no_grad() if self.sharded else torch.inference_mode():
                moved = batch.to(self.device)
                return take(self.model(**moved.inputs).logits, moved).cpu()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            text = _memory_text(self.model, batch, error, self.shared_prefix)
            raise MemoryExhaustedError(text) from error


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
    weight = next(model.parameters())
    if weight.device.type == "cuda" and weight.dtype == torch.float32:
        advice.append("model.dtype=bfloat16: half the weights, scores rounded")
    advice.append("task.data.max_seconds=15 task.data.on_long=trim: longer clips are cut")
    return failure_message("Out of memory while scoring.", facts, advice)
