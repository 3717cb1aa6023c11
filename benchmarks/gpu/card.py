"""The rates of the card, and how far bfloat16 is from float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.gpu.session import GIB, Session
from benchmarks.sections import Figure

if TYPE_CHECKING:
    from dramaeval.data.records import Record
    from dramaeval.stages.context import RunContext


def card(session: Session) -> Iterator[Figure]:
    """Memory, matrix products and copies."""
    if session.device.type == "cuda":
        properties = torch.cuda.get_device_properties(session.device)
        yield Figure(name="card", value=properties.name)
        yield Figure(name="memory", value=properties.total_memory / GIB, unit="GiB")
    yield Figure(name="bfloat16 matrix product", value=session.rate / 1e12, unit="TFLOP/s")
    count = 1_000_000 if session.dry else 1_000_000_000
    source = torch.empty(count, device=session.device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    seconds = session.time(lambda: target.copy_(source))
    yield Figure(
        name="copy on the device", value=2 * 2 * count / seconds / 1e12, unit="TB/s",
        note="bytes read and written",
    )  # fmt: skip


def parity(session: Session) -> Iterator[Figure]:
    """Scores of a judge of true width and cut depth: float32 and plain transformers, bfloat16 and float32.

    Raises:
        ValueError: the scores in float32 differ from those of plain transformers.
    """
    from benchmarks.gpu.judge import plain_judge

    # Otherwise cuDNN's convolutions of float32 keep 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    words = session.words(
        "stages=[evaluate]", "model.dtype=float32", "cache.enabled=false", depth=session.cut_depth
    )
    context = session.context("parity", words)
    records = context.splits["test"][:2]
    single = _expected(context, records)
    plain = plain_judge(session, context, dtype=torch.float32)
    wanted = np.array([plain.expected(record) for record in records])
    apart = float(np.abs(single - wanted).max())
    yield Figure(
        name="expected scores, float32: dramaeval − plain transformers", value=apart,
        note="largest absolute difference, 20 questions",
    )  # fmt: skip
    if apart > 1e-3:
        raise ValueError(f"the scores differ by {apart:.2g} from those of plain transformers")
    del plain
    context.model.to(torch.bfloat16)
    half = _expected(context, records)
    yield Figure(
        name="expected scores: bfloat16 − float32", value=float(np.abs(half - single).max())
    )


def _expected(context: RunContext, records: Sequence[Record]) -> np.ndarray:
    from dramaeval.evaluation.predictions import Prediction
    from dramaeval.evaluation.scoring import score

    found = score(context.model, records, context.record_encoder, clips_a_batch=2)
    return np.array(
        [item.expected for item in found if isinstance(item, Prediction)], dtype=float
    ).reshape(len(records), -1)
