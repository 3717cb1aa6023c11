"""AdaLoRA's schedule (Zhang et al. 2023, arXiv 2303.10512): its ranks are reallocated after each step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from dramaeval.compat.peft import adalora_settings


def schedule(total: int) -> dict[str, int]:
    """AdaLoRA's phases for a run of ``total`` steps: ranks move after a tenth of it and until the last three tenths."""
    return {"total_step": total, "tinit": total // 10, "tfinal": 3 * total // 10}


def moves_ranks(model: Any) -> bool:
    """Whether training reallocates the ranks of a model's adapter; those of a trained adapter stay."""
    settings = adalora_settings(model)
    return settings is not None and settings.rank_pattern is None


class RankSchedule(TrainerCallback):
    """Reallocates the ranks after each optimizer step, while its gradients are still there."""

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Reallocate; ``state.global_step`` does not count the step that was just taken."""
        model.base_model.update_and_allocate(state.global_step + 1)
