"""Training and scoring of the 7B's true size, by the product's own code, and by plain transformers and TRL."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.gpu.session import TRAINING, Session, StepTimes
from benchmarks.sections import Figure, release

#: Bytes of disk that the checkpoint of the true size takes, with room for its shards.
CHECKPOINT = 20e9


def scoring(session: Session) -> Iterator[Figure]:
    """Clips per second on ten dimensions, and plain transformers' generate of eight tokens for the same questions."""
    from dramaeval.evaluation.scoring import score

    words = session.words("stages=[evaluate]", "cache.enabled=false")
    context = session.context("scoring", words)
    records = context.splits["test"][: 2 if session.dry else 16]
    model, encoder = context.model, context.record_encoder
    session.reset_peak()
    for clips in (1, 2) if session.dry else (1, 8, 16):
        seconds = session.time(
            partial(score, model, records, encoder, clips_a_batch=clips), repeats=2
        )
        yield Figure(
            name=f"dramaeval, {clips} clips a pass", value=len(records) / seconds, unit="clips/s",
            note="decoded clips are in memory",
        )  # fmt: skip
    yield from session.memory()
    seconds = session.time(
        lambda: score(model, records[:2], encoder, clips_a_batch=1, shared_prefix=False), repeats=2
    )
    yield Figure(name="dramaeval, one row per question", value=2 / seconds, unit="clips/s")
    if session.device.type == "cuda" and find_spec("flash_attn") is not None:
        model.set_attn_implementation("flash_attention_2")
        seconds = session.time(
            lambda: score(model, records[:2], encoder, clips_a_batch=1, shared_prefix=False),
            repeats=2,
        )
        name = "dramaeval, one row per question, flash attention"
        yield Figure(name=name, value=2 / seconds, unit="clips/s")
    context.model = model = None
    release()
    plain = plain_judge(session, context)
    seconds = session.time(lambda: plain.score(records[0]), repeats=2)
    yield Figure(name="plain transformers' generate", value=1 / seconds, unit="clips/s")
    yield from session.memory()


def lora(session: Session) -> Iterator[Figure]:
    """LoRA steps of two clips with ten questions each."""
    yield from session.train("lora", session.words("peft=lora", "batch.per_device=2"))


def checkpointing(session: Session) -> Iterator[Figure]:
    """LoRA steps of four clips with gradient checkpointing."""
    words = session.words(
        "peft=lora", "batch.per_device=4", "trainer.args.gradient_checkpointing=true"
    )
    yield from session.train("checkpointing", words)


def compiled(session: Session) -> Iterator[Figure]:
    """LoRA steps as in `lora`, every decoder layer by torch.compile with variable lengths; no setting of dramaeval does this."""
    from dramaeval.models.forward.judge_model import unwrap_judge

    def compile_layers(trainer: Any) -> None:
        for layer in unwrap_judge(trainer.model).decoder.layers:
            layer.compile(dynamic=True, backend="eager" if session.dry else "inductor")

    words = session.words("peft=lora", "batch.per_device=2")
    yield from session.train(
        "compiled", words, steps=4 if session.dry else 8, prepare=compile_layers
    )


def full(session: Session) -> Iterator[Figure]:
    """Steps that train all weights, true width and cut depth, float32 weights with bfloat16 autocast."""
    words = session.words("peft=none", "batch.per_device=1", depth=session.cut_depth)
    yield from session.train("full", words)


def grpo(session: Session) -> Iterator[Figure]:
    """GRPO steps with LoRA: one question with eight completions."""
    words = session.words(
        "trainer=grpo", "peft=lora", "batch.per_device=1", "trainer.args.max_completion_length=8"
    )
    yield from session.train("grpo", words, steps=3)


def peers(session: Session) -> Iterator[Figure]:
    """LoRA steps of ten questions about one clip: dramaeval, transformers' Trainer and TRL, same weights and records."""
    steps = 3
    seconds: dict[str, float] = {}
    own = session.context("peers", [*TRAINING, *session.words("peft=lora", "batch.per_device=1")])
    for name in ("dramaeval", "transformers Trainer", "TRL SFTTrainer"):
        session.reset_peak()
        if name == "dramaeval":
            given = session.words("peft=lora", "batch.per_device=1", "task.labels=sample",
                                  "trainer.objective=answer_ce")  # fmt: skip
            figures = list(session.train("peers", given, steps=steps))
            (step,) = [figure for figure in figures if figure.name == "step"]
            seconds[name] = float(step.value)
            memory = [figure for figure in figures if figure.name == "peak memory"]
        else:
            plain = plain_judge(session, own, lora=True)
            times = StepTimes(session)
            trainer = plain.trainer(
                session.folder / "peer", times, steps=steps, rows=2, accumulate=5,
                trl=name.startswith("TRL"),
            )  # fmt: skip
            trainer.train()
            seconds[name] = times.median
            memory = list(session.memory())[:1]
            del plain, trainer
        yield Figure(name=f"{name}: step of ten questions", value=seconds[name], unit="s")
        for figure in memory:
            yield Figure(name=f"{name}: {figure.name}", value=figure.value, unit=figure.unit)
        release()
    ours, *others = seconds.values()
    yield Figure(name="faster than the faster of both", value=min(others) / ours, unit="times")


def qlora(session: Session) -> Iterator[Figure]:
    """A checkpoint of the true size on disk: loading in bfloat16 and in 4 bits, and QLoRA steps.

    Raises:
        OSError: the disk has no room for the checkpoint.
    """
    from benchmarks.midsize import TINY
    from benchmarks.random_7b import write_checkpoint

    folder = session.folder / "checkpoint"
    free = shutil.disk_usage(session.folder).free
    if not session.dry and free < CHECKPOINT and not folder.exists():
        raise OSError(f"{free / 1e9:.0f} GB of disk are free, and the checkpoint takes 17 GB")
    began = time.perf_counter()
    write_checkpoint(folder, TINY, small=session.dry, device=session.device)
    yield Figure(name="writing the checkpoint", value=time.perf_counter() - began, unit="s")
    words = [
        word
        for word in session.words("peft=qlora", "batch.per_device=2")
        if not word.startswith(("model.path", "model._target_", "+model."))
    ]
    words.append(f"model.path={folder}")
    if session.device.type == "cuda":
        whole = ["peft=lora" if word == "peft=qlora" else word for word in words]
        context = session.context("loading", [*TRAINING, *whole])
        began = time.perf_counter()
        context.model  # noqa: B018 - loads it
        yield Figure(name="loading in bfloat16", value=time.perf_counter() - began, unit="s")
        context.model = None
        release()
    yield from session.train("qlora", words)


def loading(session: Session) -> Iterator[Figure]:
    """The share of a first epoch that the card waits for clips, with the default number of loader processes."""
    from dramaeval.stages.train import make_trainer

    steps = 4 if session.dry else 12
    words = session.words("peft=lora", "batch.per_device=2", f"trainer.args.max_steps={steps}")
    trainer = make_trainer(session.context("loading", [*TRAINING, *words]))
    waits: list[float] = []
    get = trainer.get_batch_samples

    def timed(*arguments: Any, **given: Any) -> Any:
        began = time.perf_counter()
        found = get(*arguments, **given)
        waits.append(time.perf_counter() - began)
        return found

    trainer.get_batch_samples = timed
    times = StepTimes(session)
    trainer.add_callback(times)
    trainer.train()
    each = times.each
    yield Figure(name="loader processes", value=trainer.args.dataloader_num_workers)
    yield Figure(name="first wait", value=waits[0], unit="s", note="starts the loader processes")
    share = sum(waits[1 : len(each)]) / sum(each[1:])
    yield Figure(name="share of waiting after the first step", value=share)
    yield Figure(name="step", value=statistics.median(each[1:]), unit="s")


def out_of_memory(session: Session) -> Iterator[Figure]:
    """A training step that asks for more memory than there is: the message of the run.

    Raises:
        ValueError: the training does not end with the error that explains it.
    """
    from dramaeval.models.failures import MemoryExhaustedError
    from dramaeval.models.forward.judge_model import unwrap_judge
    from dramaeval.stages.train import make_trainer

    words = session.words("peft=lora", "batch.per_device=2", "trainer.args.max_steps=1")
    trainer = make_trainer(session.context("out_of_memory", [*TRAINING, *words]))

    def take(*_: Any) -> None:
        torch.empty(2**50, dtype=torch.uint8, device=session.device)

    unwrap_judge(trainer.model).decoder.layers[0].register_forward_pre_hook(take)
    try:
        trainer.train()
    except MemoryExhaustedError as error:
        text = str(error)
    else:
        raise ValueError("a step that asks for 2^50 bytes did not fail")
    for wanted in ("Out of memory at training step 1", "allocator:", "Try, in this order"):
        if wanted not in text:
            raise ValueError(f"the message lacks {wanted!r}: {text}")
    yield Figure(name="first line", value=text.splitlines()[0])
    advice = [line.strip() for line in text.splitlines() if line.strip().startswith("1.")]
    yield Figure(name="first advice", value=advice[0].replace("|", "/"))


def zero(session: Session, name: str) -> Iterator[Figure]:
    """Full training by DeepSpeed with one process, in a process of its own.

    Raises:
        RuntimeError: that process failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.gpu", "--child", name, "--folder", session.folder]
    done = subprocess.run(
        [*map(str, command), *(["--dry"] if session.dry else [])],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        },
    )  # fmt: skip
    found = [text for text in done.stdout.splitlines() if text.startswith("FIGURES ")]
    if done.returncode or not found:
        print(done.stdout[-3000:], done.stderr[-6000:], file=sys.stderr)
        last = [text for text in done.stderr.splitlines() if text.strip()][-1:]
        raise RuntimeError(f"the process ended with {done.returncode}: {''.join(last)}")
    for values in json.loads(found[-1].removeprefix("FIGURES ")):
        yield Figure(**values)


def zero_inside(session: Session, name: str) -> Iterator[Figure]:
    """The work of the process that `zero` starts."""
    from dramaeval.distributed.processes import process_group

    words = session.words(
        "peft=none", f"zero={name}", "batch.per_device=1", depth=session.cut_depth
    )
    with process_group() as processes:
        yield from session.train(name, words, steps=3, processes=processes)


def plain_judge(
    session: Session, context: Any, *, lora: bool = False, dtype: torch.dtype = torch.bfloat16
) -> Any:
    """Plain transformers with the weights of the context's judge, on the device."""
    from transformers import Qwen2AudioForConditionalGeneration

    from benchmarks.midsize import TINY
    from benchmarks.plain import Plain
    from benchmarks.random_7b import build

    model = build(
        Qwen2AudioForConditionalGeneration,
        context.family.read_configuration(),
        session.device,
        dtype,
    )
    records = context.splits["test"] or context.splits["train"]
    return Plain(TINY, context.task, records, lora=lora, loaded=model)
