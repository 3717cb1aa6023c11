"""Whether a plan fits into the memory that there is, and what helps where it does not."""

from __future__ import annotations

from dramaeval.models.planning.machine import Capacity
from dramaeval.stages.plan import Plan


def shortages(plan: Plan, capacity: Capacity | None) -> list[str]:
    """What a plan needs and a machine does not have, each with what helps; see `Capacity.shortages`.

    Args:
        plan: of a run.
        capacity: the memory that there is; None where it is not known.
    """
    if capacity is None:
        return []
    kinds = ("weights", "gradients", "optimizer", "activations")
    largest = max(kinds, key=lambda kind: getattr(plan.memory, kind))
    return [
        f"The plan needs {shortage}. Most of it is for the {largest}: {_remedy(plan, largest)}. "
        "plan_force=true goes on nevertheless."
        for shortage in capacity.shortages(plan.memory)
    ]


def _remedy(plan: Plan, largest: str) -> str:
    """What makes the largest part of the memory smaller."""
    if largest == "weights":
        half = "model.dtype=bfloat16, " if plan.dtype == "float32" else ""
        return f"choose a smaller model, {half}a quantised one (peft=qlora), or share it with zero=zero3"
    if largest in ("gradients", "optimizer"):
        return "train an adapter (peft=lora), or share them between processes (zero=zero2)"
    longest = f"the longest question, of {plan.longest_record}, has about {plan.longest_question:,} tokens"
    if plan.clips is None:
        return f"{longest}; shorten it, or lower batch.eval_clips"
    return (
        f"{longest}; shorten it, lower batch.per_device or batch.max_tokens, or set "
        "trainer.args.gradient_checkpointing=true"
    )
