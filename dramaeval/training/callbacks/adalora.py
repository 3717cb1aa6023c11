"""AdaLoRA's schedule (Zhang et al. 2023, arXiv 2303.10512): ranks are reallocated after each optimizer step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from dramaeval.compat.peft import adalora_settings


def schedule(total: int) -> dict[str, int]:
    """AdaLoRA's arguments for ``total`` steps: ranks change after the first tenth and before the last three tenths."""
    return {"total_step": total, "tinit": total // 10, "tfinal": 3 * total // 10}


def moves_ranks(model: Any) -> bool:
    """Whether training reallocates the ranks of a model's adapter; the ranks of a trained adapter are fixed."""
    settings = adalora_settings(model)
    return settings is not None and settings.rank_pattern is None


class RankSchedule(TrainerCallback):
    """Reallocates the ranks after each optimizer step, before the gradients are cleared."""

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Reallocate the ranks; ``state.global_step`` does not count this step yet."""
        model.base_model.update_and_allocate(state.global_step + 1)
