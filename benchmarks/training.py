"""Measures training steps: several questions of a record at once, and one question per sequence."""

from __future__ import annotations

import gc
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from transformers import TrainerCallback

from benchmarks import peers
from benchmarks.bench import Bench, peft_of
from benchmarks.plain import Questions
from benchmarks.product import TIMED
from benchmarks.timing import OURS, Row, Turn, alternate

PLAIN, TRL = "transformers Trainer", "TRL SFTTrainer"

ONE_QUESTION = (
    "task.prompt_layout=criteria_first",
    "batch.questions_per_clip=1",
    "batch.per_device=2",
)


class StepTimes(TrainerCallback):
    """Notes when each optimizer step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """See transformers."""
        self.ends.append(time.perf_counter())

    @property
    def each(self) -> float:
        """Median seconds from the end of a step to the end of the next, loading of data included."""
        pairs = zip(self.ends, self.ends[1:], strict=False)
        return statistics.median(later - sooner for sooner, later in pairs)


def context_first(bench: Bench) -> list[Row]:
    """Ten questions of a record in one pass, compared with ten rows; an optimizer step has the same questions."""
    rows = []
    for lora, target in ((True, 4.0), (False, 4.0)):
        rows.append(
            compare(
                bench,
                "training, ten questions of a record at once, context first, " + _name(lora),
                ("task.prompt_layout=context_first", "batch.per_device=1"),
                lora=lora,
                questions=10,
                peer=(2, 5),
                target=target,
            )
        )
    return rows


def rubric_first(bench: Bench) -> list[Row]:
    """Ten questions about each of four records in one pass, which share the texts of all dimensions.

    The others' time of a question does not depend on the number of passes, so a step of theirs has fewer of them. ms-swift
    and LLaMA-Factory are left out: for them the layouts differ in the order of the text only.
    """
    return [
        compare(
            replace(bench, alone=True),
            "training, ten questions of four records at once, rubric first, " + _name(lora),
            ("task.prompt_layout=rubric_first", "batch.per_device=4"),
            lora=lora,
            questions=40,
            peer=(2, 5),
            target=None,
        )
        for lora in (True, False)
    ]


def one_question(bench: Bench) -> list[Row]:
    """One question per sequence in the published order, in batches of 2."""
    return [
        compare(
            bench,
            "training, one question a sequence, published order, " + _name(lora),
            ONE_QUESTION,
            lora=lora,
            questions=2,
            peer=(2, 1),
            target=target,
        )
        for lora, target in ((True, 1.2), (False, 1.4))
    ]


def plain_steps(bench: Bench) -> list[Row]:
    """The gain of each optimisation: dramaeval with it, and with transformers' computation in its place."""
    rows = []
    for lora in (True, False):
        steps = bench.steps + 1
        overrides = (*TIMED, *peft_of(lora), *ONE_QUESTION, f"trainer.args.max_steps={steps}")
        turns: dict[str, Callable[[], float]] = {}
        for plain in ("", "log_mel", "head", "encoder", "log_mel,encoder,head"):
            name = f"model.plain=[{plain}]" if plain else OURS
            settings = (*overrides, f"model.plain=[{plain}]")
            turns[name] = bench.contender(_own_steps, bench, settings, 2)
        rows.append(
            Row(
                section="plain_steps",
                work=f"training with steps of plain transformers, one question a sequence, {_name(lora)}",
                unit="s a question",
                rounds=alternate(turns, bench.rounds, warm=False),
                note="the ratio is against the fastest of them",
            )
        )
    return rows


def _name(lora: bool) -> str:
    return "LoRA" if lora else "full"


def compare(
    bench: Bench,
    work: str,
    overrides: tuple[str, ...],
    *,
    lora: bool,
    questions: int,
    peer: tuple[int, int],
    target: float | None,
    section: str = "training",
) -> Row:
    """Time steps of ``questions``; ``peer`` has the rows per pass and the passes per step of the peers."""
    steps = bench.steps + 1  # the first step, which is left out, includes the start
    settings = (*TIMED, *peft_of(lora), *overrides, f"trainer.args.max_steps={steps}")
    turns = {
        OURS: bench.contender(_own_steps, bench, settings, questions),
        PLAIN: bench.contender(_plain_steps, bench, settings, lora, peer, False),
        TRL: bench.contender(_plain_steps, bench, settings, lora, peer, True),
    }
    losses: dict[str, float] = {}
    product = bench.product(*settings)
    questions_of_peers = Questions(product.task, product.records).rows
    rows = peers.in_order(questions_of_peers, steps * peer[0] * peer[1])
    for other in bench.peers():
        turns[other.name] = _peer_turn(other, rows, losses, lora=lora, steps=steps, passes=peer)
    found = alternate(turns, bench.rounds, warm=False)  # every turn warms up by its own first step
    note = f"{questions} questions an optimizer step; peers {peer[1]} × {peer[0]} rows"
    return Row(
        section=section,
        work=work,
        unit="s a question",
        rounds=found,
        target=target,
        note="; ".join(part for part in (note, bench.missing_peers()) if part),
        facts={f"first loss of {name}": round(loss, 3) for name, loss in losses.items()},
    )


def _peer_turn(
    peer: peers.Peer,
    rows: list[dict[str, Any]],
    losses: dict[str, float],
    *,
    lora: bool,
    steps: int,
    passes: tuple[int, int],
) -> Callable[[], float]:
    def turn() -> float:
        done = peer.train(rows, lora=lora, steps=steps, batch=passes[0], accumulate=passes[1])
        losses[peer.name] = done.losses[0]
        return done.step * steps / len(rows)

    return turn


def _own_steps(bench: Bench, settings: tuple[str, ...], questions: int) -> Turn:
    return partial(_turn, bench.product(*settings).trainer, questions)


def _plain_steps(
    bench: Bench, settings: tuple[str, ...], lora: bool, passes: tuple[int, int], trl: bool
) -> Turn:
    plain = bench.plain(bench.product(*settings), lora=lora)
    make = partial(
        plain.trainer,
        bench.folder / "peer",
        steps=bench.steps + 1,
        rows=passes[0],
        accumulate=passes[1],
        trl=trl,
    )
    return partial(_turn, make, passes[0] * passes[1])


def _turn(make: Callable[..., Any], questions: int) -> float:
    times = StepTimes()
    trainer = make(times)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    trainer.train()
    del trainer
    gc.collect()
    return times.each / questions
