"""Measures training steps: several questions of a record at once, and one question per sequence."""

from __future__ import annotations

import gc
import logging
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from benchmarks import peers
from benchmarks.bench import Bench, peft_of
from benchmarks.plain import Questions
from benchmarks.product import TIMED
from benchmarks.timing import OURS, Row, alternate

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
            _compare(
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
    """Ten questions about each of four records in one pass, which share the texts of all dimensions."""
    return [
        _compare(
            bench,
            "training, ten questions of four records at once, rubric first, " + _name(lora),
            ("task.prompt_layout=rubric_first", "batch.per_device=4"),
            lora=lora,
            questions=40,
            peer=(2, 20),
            target=None,
        )
        for lora in (True, False)
    ]


def one_question(bench: Bench) -> list[Row]:
    """One question per sequence in the published order, in batches of 2."""
    return [
        _compare(
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
            product = bench.product(*overrides, f"model.plain=[{plain}]")
            name = f"model.plain=[{plain}]" if plain else OURS
            turns[name] = partial(_turn, product.trainer, 2)
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


def _compare(
    bench: Bench,
    work: str,
    overrides: tuple[str, ...],
    *,
    lora: bool,
    questions: int,
    peer: tuple[int, int],
    target: float | None,
) -> Row:
    """Time steps with the same number of questions; ``peer`` has the rows per pass and the passes per step of the peers."""
    steps = bench.steps + 1  # the first step, which is left out, includes the start
    product = bench.product(*TIMED, *peft_of(lora), *overrides, f"trainer.args.max_steps={steps}")
    plain = bench.plain(product, lora=lora)
    again = bench.plain(product, lora=lora)
    turns: dict[str, Callable[[], float]] = {
        OURS: lambda: _turn(product.trainer, questions),
        PLAIN: lambda: _turn(
            lambda *given: plain.trainer(
                _scratch(bench), *given, steps=steps, rows=peer[0], accumulate=peer[1]
            ),
            questions,
        ),
        TRL: lambda: _turn(
            lambda *given: again.trainer(
                _scratch(bench), *given, steps=steps, rows=peer[0], accumulate=peer[1], trl=True
            ),
            questions,
        ),
    }
    losses: dict[str, float] = {}
    rows = peers.in_order(Questions(product.task, product.records).rows, steps * questions)
    for other in peers.installed(bench.folder, bench.model):
        turns[other.name] = _peer_turn(other, rows, losses, lora=lora, steps=steps, passes=peer)
    found = alternate(turns, bench.rounds, warm=False)  # every turn warms up by its own first step
    note = f"{questions} questions an optimizer step; peers {peer[1]} × {peer[0]} rows"
    absent = peers.missing(bench.folder)
    return Row(
        section="training",
        work=work,
        unit="s a question",
        rounds=found,
        target=target,
        note="; ".join(part for part in (note, absent) if part),
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


def _turn(make: Callable[..., Any], questions: int) -> float:
    times = StepTimes()
    trainer = make(times)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    trainer.train()
    del trainer
    gc.collect()
    return times.each / questions


def _scratch(bench: Bench) -> Path:
    return bench.folder / "peer"
