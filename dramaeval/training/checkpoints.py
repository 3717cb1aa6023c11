"""Checkpoints of a training: which of them can be resumed, and whether it has reached its end."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from dramaeval.data.manifest import damage_in

log = logging.getLogger(__name__)

_PREFIX = "checkpoint-"


def last_checkpoint(folder: Path, *, with_best: bool = False) -> Path | None:
    """The newest checkpoint that is whole, or None; what is wrong with newer ones is logged.

    Args:
        folder: with the checkpoints.
        with_best: whether the checkpoint with the best validation so far has to be whole too, because training
            goes back to it at its end.
    """
    named = [one for one in folder.glob(f"{_PREFIX}*") if one.name.removeprefix(_PREFIX).isdigit()]
    for checkpoint in sorted(named, key=step_of, reverse=True):
        problem = _problem(checkpoint) or (with_best and _problem_with_best(checkpoint))
        if not problem:
            return checkpoint
        log.warning("%s is passed over: %s.", checkpoint.name, problem)
    if named:
        log.warning("%s holds no whole checkpoint: training begins anew.", folder)
    return None


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _problem(checkpoint: Path) -> str | None:
    if damage := damage_in(checkpoint):
        return "; ".join(damage)
    # Earlier versions wrote no manifest; their checkpoints are complete where the trainer's state is.
    return None if "global_step" in state_of(checkpoint) else "it was not written to its end"


def _problem_with_best(checkpoint: Path) -> str | None:
    named = state_of(checkpoint).get("best_model_checkpoint")
    best = checkpoint.parent / Path(named or checkpoint).name
    if best == checkpoint or not best.is_dir() or not (problem := _problem(best)):
        return None
    return f"training would go back to {best.name}, which is the best on val, and that is damaged: {problem}"


def has_ended(checkpoint: Path) -> bool:
    """Whether a checkpoint is the last of its training."""
    state = state_of(checkpoint)
    return was_stopped(checkpoint) or state.get("global_step", 0) >= state.get("max_steps", 1)


def was_stopped(checkpoint: Path) -> bool:
    """Whether a callback ended the training at this checkpoint, before its last step."""
    state = state_of(checkpoint)
    control = state.get("stateful_callbacks", {}).get("TrainerControl", {})
    stops = control.get("args", {}).get("should_training_stop", False)
    return bool(stops) and state["global_step"] < state["max_steps"]


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What the trainer wrote down of a checkpoint; empty where that is not there or damaged."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
