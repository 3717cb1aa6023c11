"""Computes time and memory of the 7B on 1, 8 and 64 H100s: `python -m benchmarks.scale` writes docs/scale.md.

Nothing here was run on a GPU. Operations come from `dramaeval.models.planning.flops` and memory from
`dramaeval.models.planning.memory`, the formulas that ``plan=true`` uses. Tests compare both with measurements of small
models on a CPU. Speeds are the manufacturer's figures times an assumed utilisation, which the page states.
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.product import ROOT, composed
from dramaeval.models.adapters import attach, count_parameters
from dramaeval.models.planning.flops import Shape, Work, forward, training_step
from dramaeval.models.planning.memory import MemoryEstimate, estimate, readable
from dramaeval.stages.builders import build_family
from dramaeval.stages.training_arguments import build_adapter

RANK = 16
TRAIN, HELD_OUT, EPOCHS = 8_000, 2_000, 3
#: The largest number of records in a step over all GPUs; larger batches would change the training.
MOST = 256


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An H100 SXM5 80 GB; figures of NVIDIA's data sheet, without sparsity.

    Attributes:
        rate: operations a second in bfloat16.
        utilisation: the assumed share of ``rate`` that is reached.
        memory: bytes.
        bandwidth: bytes a second of its memory.
        inside: bytes a second between GPUs of a node (NVLink, one direction).
        between: bytes a second and GPU between nodes of 8 (400 Gb/s each).
        reached: the assumed share of both links that is reached.
    """

    rate: float = 989e12
    utilisation: float = 0.4
    memory: float = 80e9
    bandwidth: float = 3.35e12
    inside: float = 450e9
    between: float = 50e9
    reached: float = 0.7


@dataclass(frozen=True)
class Method:
    """A training method: the rank of its adapter (0 trains every weight), bytes of a weight, ZeRO stage."""

    name: str
    rank: int
    bytes_per_weight: float
    stage: int
    checkpointing: bool


METHODS = (
    Method("LoRA r=16", RANK, 2, 0, False),
    Method("QLoRA r=16", RANK, 2, 0, False),
    Method("full, zero=none", 0, 4, 0, True),
    Method("full, zero=zero1", 0, 4, 1, True),
    Method("full, zero=zero2", 0, 4, 2, True),
    Method("full, zero=zero3", 0, 4, 3, True),
)


@dataclass(frozen=True)
class Judge7B:
    """The 7B, from its architecture: number of weights in total, in the language model and in the LoRA adapter."""

    shape: Shape
    total: int
    language: int
    adapter: int

    @classmethod
    def read(cls) -> Judge7B:
        """Count the weights on the meta device, which allocates no memory."""
        config = composed("model=qwen2_audio_7b", "peft=lora")
        family = build_family(config)
        skeleton: Any = family.skeleton()
        family.freeze_fixed(skeleton)
        shape = Shape.of(skeleton.config)
        plain = count_parameters(skeleton, family)
        adapted = attach(skeleton, build_adapter(config, family))
        trained = sum(count for count, _ in count_parameters(adapted, family).values())
        return cls(shape, sum(total for _, total in plain.values()), plain["llm"][1], trained)


def memory(judge: Judge7B, method: Method, work: Work, clips: int, gpus: int) -> MemoryEstimate:
    """Bytes of one GPU in training."""
    shape = judge.shape
    found = estimate(
        total=judge.total + (judge.adapter if method.rank else 0),
        trainable=judge.adapter if method.rank else judge.total,
        bytes_per_weight=int(method.bytes_per_weight),
        tokens=work.tokens * clips,
        hidden=shape.hidden,
        layers=shape.layers,
        inner=shape.inner,
        copied=work.copied * clips,
        audio=0.0 if method.rank else shape.tower_bytes(work.frames * clips, 2),
        checkpointing=method.checkpointing,
        stage=method.stage,
        processes=gpus,
    )
    # Full training keeps its weights in float32 and computes in bfloat16, so activations have half the bytes.
    halved = found.activations / (method.bytes_per_weight / 2)
    found = replace(found, activations=halved)
    if method.name.startswith("QLoRA"):
        # NF4 with double quantisation: 4.127 bits a weight (Dettmers et al. 2023, section 3).
        return replace(found, weights=found.weights - judge.language * (2 - 4.127 / 8))
    return found


def evaluation_memory(judge: Judge7B, work: Work, clips: int) -> MemoryEstimate:
    """Bytes of one GPU that scores: one layer's activations at a time."""
    shape = judge.shape
    return estimate(
        total=judge.total, trainable=0, bytes_per_weight=2, tokens=work.tokens * clips,
        hidden=shape.hidden, layers=1, inner=shape.inner, copied=work.copied * clips,
    )  # fmt: skip


def step_seconds(
    judge: Judge7B,
    method: Method,
    work: Work,
    clips: int,
    gpus: int,
    machine: Machine,
    *,
    encodes_audio: bool,
) -> dict[str, float]:
    """Seconds of a step by cause; the sum is the time of a step in which nothing overlaps."""
    step = training_step(
        judge.shape,
        [work] * clips,
        rank=method.rank,
        encodes_audio=encodes_audio or method.rank == 0,
        checkpointing=method.checkpointing,
    )
    trained = judge.adapter if method.rank else judge.total
    share = 1 / gpus if method.stage else 1.0
    # Adam reads weight, gradient and two moments and writes all but the gradient, 4 bytes each.
    moved = trained * share * 7 * 4
    link = machine.reached * (machine.inside if gpus <= 8 else machine.between)
    sent = 0.0
    if gpus > 1:
        # A ring all-reduce passes every gradient twice (2 bytes in bfloat16); stage 3 gathers the weights twice
        # more in bfloat16, once for each direction.
        sent = 2 * 2 * trained * (gpus - 1) / gpus
        if method.stage == 3:
            sent += 2 * 2 * judge.total * (gpus - 1) / gpus
    return {
        "compute": step.total / (machine.rate * machine.utilisation),
        "optimizer": moved / machine.bandwidth,
        "communication": sent / link,
    }


def scoring_seconds(judge: Judge7B, work: Work, machine: Machine) -> float:
    """Seconds a clip on one GPU."""
    return forward(judge.shape, [work]).total / (machine.rate * machine.utilisation)


def page() -> str:
    """The text of docs/scale.md."""
    judge, machine = Judge7B.read(), Machine()
    # 8.8 s of sound (220 positions), 500 tokens of system, context and headings, 100 of each of ten rubrics.
    together = Work(prefix=720, branches=10, width=100, frames=880, answers=6)
    alone = Work(prefix=0, branches=1, width=820, frames=880, answers=6)
    text = _head(judge, machine, together)
    text += _memory_table(judge, machine, together)
    text += _time_table(judge, machine, together)
    text += _run_table(judge, machine, together, alone)
    return text + CHECKED


def _head(judge: Judge7B, machine: Machine, work: Work) -> str:
    once = forward(judge.shape, [work]).total / 1e12
    lora = training_step(judge.shape, [work], rank=RANK).total / 1e12
    full = training_step(judge.shape, [work]).total / 1e12
    paragraphs = [
        "Written by `python -m benchmarks.scale`. **Nothing on this page was run on a GPU.** The figures are "
        "arithmetic from `dramaeval/models/planning/flops.py` and `dramaeval/models/planning/memory.py`, which "
        "`plan=true` uses too.",
        f"Assumptions: an H100 SXM5 has {machine.memory / 1e9:.0f} GB of memory at "
        f"{machine.bandwidth / 1e12:.2f} TB/s and reaches {machine.utilisation:.0%} of its "
        f"{machine.rate / 1e12:.0f} TFLOP/s in bfloat16. NVLink has {machine.inside / 1e9:.0f} GB/s in each "
        f"direction within a node of 8 GPUs; between nodes each GPU has {machine.between / 1e9:.0f} GB/s; "
        f"{machine.reached:.0%} of both are reached. Computation and communication do not overlap. "
        f"A record has {work.frames / 100:.1f} s of audio and {work.branches} questions. The questions share "
        f"{work.prefix} tokens and have {work.width} further tokens each: {work.tokens:,} tokens in one pass, "
        f"compared with {10 * (work.prefix + work.width):,} in ten separate rows.",
        f"The 7B has {judge.total:,} parameters, {judge.language:,} of them in the layers of the language "
        f"model. LoRA trains {judge.adapter:,}. A forward pass over one record takes {once:.1f} TFLOP, a LoRA "
        f"training step {lora:.1f}, a training step of all weights {full:.1f}.",
    ]
    return "# Scale, on paper\n\n" + "".join(map(_paragraph, paragraphs))


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n\n"


def _memory_table(judge: Judge7B, machine: Machine, work: Work) -> str:
    text = "## Memory of a GPU\n\nOne record in a pass. Full fine-tuning has float32 weights, and bfloat16 "
    text += "activations that are recomputed in the backward pass.\n\n"
    text += (
        "| method | GPUs | weights | gradients | optimizer | activations | total | fits 80 GB |\n"
    )
    text += "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    for method in METHODS:
        for gpus in (1, 8, 64) if method.stage else (1,):
            if method.stage and gpus == 1:
                continue
            found = memory(judge, method, work, 1, gpus)
            cells = [
                readable(getattr(found, name))
                for name in ("weights", "gradients", "optimizer", "activations", "total")
            ]
            fits = "yes" if found.total < 0.92 * machine.memory else "no"
            any_number = "any" if not method.stage else str(gpus)
            text += f"| {method.name} | {any_number} | " + " | ".join(cells) + f" | {fits} |\n"
    scoring = evaluation_memory(judge, work, 8)
    text += f"| scoring, 8 records a pass | any | {readable(scoring.weights)} | | | "
    text += f"{readable(scoring.activations)} | {readable(scoring.total)} | yes |\n\n"
    return text + _paragraph(
        "8 % of the memory are reserved for the allocator and the framework. The gathered layers of ZeRO "
        "stage 3 and DeepSpeed's buffers are not counted."
    )


def _fits(judge: Judge7B, method: Method, work: Work, gpus: int, machine: Machine) -> int:
    """Records a pass that fit, up to 16 and to 256 in a step."""
    found = [
        n
        for n in (1, 2, 4, 8, 16)
        if n * gpus <= MOST and memory(judge, method, work, n, gpus).total < 0.92 * machine.memory
    ]
    return max(found, default=0)


def _time_table(judge: Judge7B, machine: Machine, work: Work) -> str:
    text = "## A step\n\nEach GPU takes as many records in a pass as fit, at most 16, and at most 256 over all "
    text += "GPUs. Times are in seconds.\n\n"
    text += "| method | GPUs | records per GPU | compute | optimizer | communication | questions per second |\n"
    text += "| --- | --- | --- | --- | --- | --- | --- |\n"
    for method in METHODS[:1] + METHODS[2:]:
        for gpus in (1, 8, 64):
            clips = _fits(judge, method, work, gpus, machine)
            if not clips:
                text += f"| {method.name} | {gpus} | does not fit | | | | |\n"
                continue
            took = step_seconds(judge, method, work, clips, gpus, machine, encodes_audio=False)
            rate = clips * work.branches * gpus / sum(took.values())
            cells = " | ".join(f"{value:.3f}" for value in took.values())
            text += f"| {method.name} | {gpus} | {clips} | {cells} | {rate:,.0f} |\n"
    return (
        text
        + "\n"
        + _paragraph(
            "In LoRA's steps the outputs of the audio encoder come from the cache. QLoRA computes the products "
            "of LoRA and also unpacks the weights; there is no figure for the unpacking."
        )
    )


def _run_table(judge: Judge7B, machine: Machine, together: Work, alone: Work) -> str:
    records = TRAIN + HELD_OUT
    text = "## A run with as many records as Speech-DRAME's EvalBench\n\n"
    text += f"{records:,} records with ten questions each: {TRAIN:,} for training over {EPOCHS} epochs, "
    text += f"{HELD_OUT:,} scored before and after training.\n\n"
    text += (
        "| method | GPUs | training | scoring | GPU-hours | GPU-hours with one row per question |\n"
    )
    text += "| --- | --- | --- | --- | --- | --- |\n"
    for method in (METHODS[0], METHODS[-1]):
        for gpus in (1, 8, 64):
            clips = _fits(judge, method, together, gpus, machine)
            if not clips:
                continue
            each = sum(
                step_seconds(
                    judge, method, together, clips, gpus, machine, encodes_audio=False
                ).values()
            )
            first = step_seconds(judge, method, together, clips, gpus, machine, encodes_audio=True)
            steps = TRAIN / (clips * gpus)
            training = steps * (sum(first.values()) + (EPOCHS - 1) * each)
            scoring = 2 * HELD_OUT * scoring_seconds(judge, together, machine) / gpus
            rows = clips * together.tokens // alone.tokens
            plain = sum(
                step_seconds(judge, method, alone, rows, gpus, machine, encodes_audio=True).values()
            )
            apart = EPOCHS * TRAIN * 10 / rows * plain
            apart += 2 * HELD_OUT * 10 * scoring_seconds(judge, alone, machine)
            text += (
                f"| {method.name} | {gpus} | {training / 60:,.1f} min | {scoring / 60:,.1f} min | "
                f"{(training + scoring) * gpus / 3600:,.2f} | {apart / 3600:,.2f} |\n"
            )
    return (
        text
        + "\n"
        + _paragraph(
            "Loading, validation during training, checkpoints and the start of the process are not included. "
            "The last column is for the same work with one row per question (audio at true length, no cache)."
        )
    )


CHECKED = """## Checks of the formulas

- Operations: within 0.5 % of `torch.utils.flop_counter` for a forward pass, within 1 % for a step, LoRA and
  full, shared prefix and rows (`tests/models/planning/test_flops.py`, tiny judge).
- Activations: within 20 % of the bytes that autograd keeps for the same steps (the same file).
- Weights, gradients and moments under ZeRO: calculated by hand from Rajbhandari et al. 2020
  (`tests/models/planning/test_memory.py`).
- Times: the share of the machine's rate of matrix products that a training step reaches was measured on a CPU
  only ([benchmarks](benchmarks.md)). The 40 % here are an assumption.
"""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "scale.md")
    given = parser.parse_args()
    given.page.parent.mkdir(exist_ok=True)
    with torch.no_grad():
        given.page.write_text(page(), encoding="utf-8")
    print(f"Wrote {given.page}")


if __name__ == "__main__":
    main()
