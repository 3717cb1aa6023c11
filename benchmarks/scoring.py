"""Measures scoring of a clip on ten dimensions: one pass, compared with generating eight tokens for ten questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.plain import Questions
from benchmarks.product import Product
from benchmarks.timing import OURS, Row, alternate, seconds
from dramaeval.data.records import Record
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.scoring import score

PLAIN = "transformers generate, 8 tokens"


def context_first(bench: Bench) -> list[Row]:
    """Prompts that begin with the texts which all questions share."""
    return [_compare(bench, "context_first", "context first", 6.0)]


def published_order(bench: Bench) -> list[Row]:
    """Prompts that begin with the text of the dimension, so that only system prompt and clip are shared."""
    return [_compare(bench, "criteria_first", "published order", 2.5)]


def rubric_first(bench: Bench) -> list[Row]:
    """Prompts that begin with the texts of all dimensions, which four clips share."""
    return [_compare(bench, "rubric_first", "rubric first, four clips at once", None, clips=4)]


def _compare(bench: Bench, layout: str, name: str, target: float | None, *, clips: int = 1) -> Row:
    product = bench.product("stages=[evaluate]", f"task.prompt_layout={layout}")
    plain = bench.plain(product)
    # All contenders score the same clips. A peer also scores one clip before them, which is not timed.
    first, *records = product.records[: 1 + max(min(bench.steps, 2), clips)]

    def own_turn() -> float:
        record_encoder = product.record_encoder()  # with an empty cache
        scoring = partial(score, product.model, records, record_encoder, clips_a_batch=clips)
        return seconds(scoring) / len(records)

    def peer_turn() -> float:
        return seconds(lambda: [plain.score(one) for one in records]) / len(records)

    turns: dict[str, Callable[[], float]] = {OURS: own_turn, PLAIN: peer_turn}
    for peer in peers.installed(bench.folder, bench.model):
        turns[peer.name] = _other_turn(peer, product, [first, *records])
    judged = score(product.model, [first], product.record_encoder())
    found = [one.expected for one in judged if isinstance(one, Prediction)]
    apart = float(np.abs(np.array(found, dtype=float) - plain.expected(first)).max())
    note = f"expected scores from plain logits at the same place: within {apart:.1e}"
    return Row(
        section="scoring",
        work=f"scoring a clip on ten dimensions, {name}",
        unit="s a clip",
        rounds=alternate(turns, bench.rounds),
        target=target,
        note="; ".join(one for one in (note, peers.missing(bench.folder)) if one),
    )


def _other_turn(
    peer: peers.Peer, product: Product, records: Sequence[Record]
) -> Callable[[], float]:
    """A peer's own command over some clips; the time of a clip is the one between two ends, so the first is not timed."""
    questions = len(product.task.dimensions)
    rows = Questions(product.task, records).rows

    def turn() -> float:
        return peer.answer(rows, questions).batch(peer.bar(len(records), questions))

    return turn
