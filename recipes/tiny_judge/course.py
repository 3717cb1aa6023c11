"""One training stage: a learning-rate schedule with warm-up and decay, progress display, and snapshots."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a stage is trained.

    Attributes:
        name: what is shown and what its snapshot is called.
        steps: optimizer steps.
        rate: highest learning rate.
        warm_up: share of the steps in which it is reached.
        decay: share of the steps, the last ones, in which it falls to nothing.
        weight_decay: of AdamW.
        snapshot_every: steps between two snapshots.
    """

    name: str
    steps: int
    rate: float
    warm_up: float = 0.05
    decay: float = 0.4
    weight_decay: float = 0.05
    snapshot_every: int = 500

    def rate_at(self, step: int) -> float:
        """The share of the highest rate at a step: up, level, down along straight lines."""
        up = (step + 1) / max(1.0, self.warm_up * self.steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, up, down)


def bfloat16_is_fast() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def follow(
    course: Course,
    student: nn.Module,
    loss_at: Callable[[int], torch.Tensor],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Train every weight of ``student`` that is not frozen; go on from a snapshot if there is one.

    Args:
        course: steps and rates.
        student: what is trained, in place.
        loss_at: the loss of a step, from its number alone, so that a course that was broken off goes
            on with what it would have seen.
        folder: where the snapshot is kept.
        say: takes lines of progress.
    """
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=course.rate, weight_decay=course.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, course.rate_at)
    snapshot = folder / f"{course.name}.pt"
    start = _resume(snapshot, student, optimizer, schedule)
    low_precision = bfloat16_is_fast()
    losses: deque[float] = deque(maxlen=100)
    began = time.monotonic()
    for step in range(start, course.steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        done = step + 1
        if done % 100 == 0 or done == course.steps:
            left = (time.monotonic() - began) / (done - start) * (course.steps - done)
            mean = sum(losses) / len(losses)
            say(f"{course.name}: step {done}/{course.steps}, loss {mean:.3f}, {left:.0f} s left")
        if done % course.snapshot_every == 0 or done == course.steps:
            _keep(snapshot, done, student, optimizer, schedule)


def _keep(
    snapshot: Path,
    step: int,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    state = {
        "step": step,
        "student": student.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    unfinished = snapshot.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.rename(snapshot)


def _resume(
    snapshot: Path,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """Take up the snapshot; the number of the next step."""
    if not snapshot.exists():
        return 0
    state = torch.load(snapshot, weights_only=True)
    student.load_state_dict(state["student"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])
