"""Computes the operations of dramaeval and of plain transformers by formula; their quotient limits the ratio of times.

Nothing is timed. Plain transformers encodes 30 s for every clip, computes each question separately in every layer, and in
training computes logits at every position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.bench import Bench, peft_of
from benchmarks.machine import LAYOUTS, works
from benchmarks.product import TIMED, Product
from benchmarks.timing import OURS, Row
from dramaeval.models.families.qwen2_audio import WINDOW
from dramaeval.models.inputs.collation import EncodedRecord, collate
from dramaeval.models.planning.flops import Shape, Work, forward, training_step

PLAIN = "plain transformers"
#: The number of tokens that the peers generate for a question.
WRITTEN = 8
_RANK = 16


def counted(bench: Bench) -> list[Row]:
    """TFLOP of scoring a clip and of training a question, in both layouts."""
    rows = []
    for name, overrides in LAYOUTS.items():
        product = bench.product(*TIMED, *overrides)
        shape = Shape.of(product.model.config)
        layout = name.rpartition(", ")[2]
        encoded_record = product.record_encoder().encode(
            product.records[0], product.task.dimensions
        )
        own = works(collate([encoded_record], pad=product.record_encoder().pad))
        rows.append(
            _row(
                f"scoring a clip on ten dimensions, {layout}",
                "TFLOP a clip",
                forward(shape, own).total,
                sum(_written(shape, one) for one in _apart(encoded_record, 0, answers=1)),
            )
        )
        for lora in (True, False):
            rows.append(_training(bench, name, (*TIMED, *overrides), lora=lora))
    return rows


def _training(bench: Bench, name: str, overrides: Sequence[str], *, lora: bool) -> Row:
    product = bench.product(*overrides, *peft_of(lora), "trainer.args.max_steps=1")
    batch, record_encoder = _first_batch(product)
    questions = sum(len(encoded_record.questions) for encoded_record in record_encoder)
    rank = _RANK if lora else 0
    shape = Shape.of(product.model.config)
    reply = len(batch.labels) // batch.questions
    apart = [one for encoded_record in record_encoder for one in _apart(encoded_record, reply)]
    return _row(
        f"training, {name}, {'LoRA' if lora else 'full'}",
        "TFLOP a question",
        training_step(shape, works(batch), rank=rank).total / questions,
        training_step(shape, apart, rank=rank).total / questions,
    )


def _first_batch(product: Product) -> tuple[Any, list[EncodedRecord]]:
    trainer = product.trainer()
    entries = [{"record": at} for at in range(product.config.batch.per_device)]
    batch = trainer.data_collator(entries)["batch"]
    asked: dict[str, list[str]] = {record: [] for record, _ in batch.question_keys}
    for record, dimension in batch.question_keys:
        asked[record].append(dimension)
    task, records = product.task, {record.id: record for record in product.records}
    dimensions = {dimension.key: dimension for dimension in task.dimensions}
    record_encoder = [
        trainer.record_encoder.encode(records[record], [dimensions[key] for key in keys])
        for record, keys in asked.items()
    ]
    return batch, record_encoder


def _apart(encoded_record: EncodedRecord, reply: int, answers: int | None = None) -> list[Work]:
    """One row per question with 30 s of audio; logits at ``answers`` positions, or at every position for None."""
    lengths = [len(one.question.prompt) + reply for one in encoded_record.questions]
    return [
        Work(prefix=0, branches=1, width=length, frames=WINDOW, answers=answers or length)
        for length in lengths
    ]


def _written(shape: Shape, work: Work) -> float:
    """Operations of a prompt and of tokens that are generated one by one with a key-value cache."""
    steps = WRITTEN - 1
    rest = Work(prefix=0, branches=1, width=steps, answers=steps)
    # Each token also attends to the prompt: queries times keys, and weights times values.
    attention = 4.0 * shape.layers * shape.queries * steps * work.tokens
    return forward(shape, [work]).total + forward(shape, [rest]).total + attention


def _row(work: str, unit: str, own: float, plain: float) -> Row:
    rounds = {OURS: [own / 1e12], PLAIN: [plain / 1e12]}
    return Row(
        section="operations",
        work=f"operations by formula, {work}",
        unit=unit,
        rounds=rounds,
    )
