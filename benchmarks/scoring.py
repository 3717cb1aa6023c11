"""Measures scoring of a clip on ten dimensions: one pass, compared with generating eight tokens for ten questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.plain import Questions
from benchmarks.product import Product
from benchmarks.timing import OURS, Row, Turn, alternate, seconds
from dramaeval.data.records import Record
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.scoring import score

PLAIN = "transformers generate, 8 tokens"


def context_first(bench: Bench) -> list[Row]:
    """Prompts that begin with the texts which all questions share."""
    return [compare(bench, "context_first", "scoring a clip on ten dimensions, context first", 6.0)]


def published_order(bench: Bench) -> list[Row]:
    """Prompts that begin with the text of the dimension, so that only system prompt and clip are shared."""
    name = "scoring a clip on ten dimensions, published order"
    return [compare(bench, "criteria_first", name, 2.5)]


def rubric_first(bench: Bench) -> list[Row]:
    """Prompts that begin with the texts of all dimensions, which four clips share."""
    name = "scoring a clip on ten dimensions, rubric first, four clips at once"
    return [compare(replace(bench, alone=True), "rubric_first", name, None, clips=4)]


def compare(
    bench: Bench,
    layout: str,
    work: str,
    target: float | None,
    *,
    clips: int = 1,
    section: str = "scoring",
) -> Row:
    """Time the scoring of clips, of which dramaeval has ``clips`` in a batch, and compare the scores."""
    settings = ("stages=[evaluate]", f"task.prompt_layout={layout}")
    # All contenders score the same clips. A peer also scores one clip before them, which is not timed.
    count = max(2, clips)
    turns: dict[str, Callable[[], float]] = {
        OURS: bench.contender(_own_scoring, bench, settings, count, clips),
        PLAIN: bench.contender(_plain_scoring, bench, settings, count),
    }
    product = bench.product(*settings)
    plain = bench.plain(product)
    first = product.records[0]
    for peer in bench.peers():
        turns[peer.name] = _other_turn(peer, product, product.records[: 1 + count])
    judged = score(product.model, [first], product.record_encoder())
    found = [one.expected for one in judged if isinstance(one, Prediction)]
    apart = float(np.abs(np.array(found, dtype=float) - plain.expected(first)).max())
    note = f"expected scores from plain logits at the same place: within {apart:.1e}"
    return Row(
        section=section,
        work=work,
        unit="s a clip",
        rounds=alternate(turns, bench.rounds),
        target=target,
        note="; ".join(one for one in (note, bench.missing_peers()) if one),
    )


def _own_scoring(bench: Bench, settings: tuple[str, ...], count: int, clips: int) -> Turn:
    product = bench.product(*settings)
    records = product.records[1 : 1 + count]

    def turn() -> float:
        record_encoder = product.record_encoder()  # with an empty cache
        scoring = partial(score, product.model, records, record_encoder, clips_a_batch=clips)
        return seconds(scoring) / count

    return turn


def _plain_scoring(bench: Bench, settings: tuple[str, ...], count: int) -> Turn:
    product = bench.product(*settings)
    plain = bench.plain(product)
    records = product.records[1 : 1 + count]
    return lambda: seconds(lambda: [plain.score(one) for one in records]) / count


def _other_turn(
    peer: peers.Peer, product: Product, records: Sequence[Record]
) -> Callable[[], float]:
    """A peer's own command over some clips; the time of a clip is the one between two ends, so the first is not timed."""
    questions = len(product.task.dimensions)
    rows = Questions(product.task, records).rows

    def turn() -> float:
        return peer.answer(rows, questions).batch(peer.bar(len(records), questions))

    return turn
