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
class StageSettings:
    """The steps and rates of a stage.

    Attributes:
        name: name in progress lines and of the snapshot.
        steps: optimizer steps.
        rate: highest learning rate.
        warm_up: share of the steps in which the rate rises to the highest.
        decay: share of the steps, the last ones, in which the rate falls to 0.
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
        """The share of the highest rate at a step: a linear rise, a constant part, a linear fall."""
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


def train_stage(
    stage: StageSettings,
    model: nn.Module,
    loss_at: Callable[[int], torch.Tensor],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Train every weight of ``model`` that is not frozen; resume from a snapshot if there is one.

    Args:
        stage: steps and rates.
        model: the module, trained in place.
        loss_at: returns the loss of a step from its number alone, so that a resumed stage continues exactly.
        folder: folder of the snapshot.
        say: prints a line of progress.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=stage.rate, weight_decay=stage.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, stage.rate_at)
    snapshot = folder / f"{stage.name}.pt"
    start = _resume(snapshot, model, optimizer, schedule)
    low_precision = bfloat16_is_fast()
    losses: deque[float] = deque(maxlen=100)
    began = time.monotonic()
    for step in range(start, stage.steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        done = step + 1
        if done % 100 == 0 or done == stage.steps:
            left = (time.monotonic() - began) / (done - start) * (stage.steps - done)
            mean = sum(losses) / len(losses)
            say(f"{stage.name}: step {done}/{stage.steps}, loss {mean:.3f}, {left:.0f} s left")
        if done % stage.snapshot_every == 0 or done == stage.steps:
            _keep(snapshot, done, model, optimizer, schedule)


def _keep(
    snapshot: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    unfinished = snapshot.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.rename(snapshot)


def _resume(
    snapshot: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """Load the snapshot if there is one, and return the number of the next step."""
    if not snapshot.exists():
        return 0
    state = torch.load(snapshot, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])
