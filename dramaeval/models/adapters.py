"""Adapters: PEFT's own methods, kept to the parts of the model that ``adapt`` names.

Layers of the audio tower and of the language model share their names, so a list of name endings would adapt
both. The endings are therefore turned into one pattern over full module names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.models.loading import Family, ModelError


def adapted_parts(adapt: str | Sequence[str], family: Family) -> list[str]:
    """The parts that ``adapt`` names, in the family's order.

    Raises:
        ValueError: a name that the family does not have.
    """
    named = [adapt] if isinstance(adapt, str) else list(adapt)
    if "all" in named:
        return list(family.parts)
    unknown = [name for name in named if name not in family.parts]
    if unknown or not named:
        raise ValueError(
            f"adapt={','.join(named) or '[]'}: {', '.join(unknown) or 'nothing'} is not a part of this model. "
            f"Choose from {', '.join(family.parts)}, all, or a list of them."
        )
    return [name for name in family.parts if name in named]


def target_pattern(
    family: Family, parts: Sequence[str], endings: Sequence[str] | None = None
) -> str:
    """A regular expression over full module names, as PEFT takes it for ``target_modules``.

    Args:
        family: the model's family.
        parts: the parts that get adapters.
        endings: names of the layers to adapt; None takes the family's own for each part.
    """
    branches = []
    for part in parts:
        names = "|".join(re.escape(name) for name in (endings or family.projections[part]))
        branches.append(rf"{re.escape(family.parts[part])}\.(?:.*\.)?(?:{names})")
    return "|".join(branches) if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def restrict(config: Any, family: Family, adapt: str | Sequence[str]) -> Any:
    """Keep a PEFT configuration to the adapted parts; changes and returns it.

    A ``target_modules`` that is already a pattern (a string) is the user's own business.
    """
    if not hasattr(config, "target_modules") or isinstance(config.target_modules, str):
        return config
    endings = sorted(config.target_modules) if config.target_modules else None
    config.target_modules = target_pattern(family, adapted_parts(adapt, family), endings)
    return config


def attach(model: Any, config: Any) -> Any:
    """Wrap a model with a new adapter.

    Raises:
        ModelError: PEFT cannot attach it; the message is PEFT's own reason.
    """
    from peft import get_peft_model

    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(f"peft: the adapter cannot be attached: {error}") from None


def count_parameters(model: Any, family: Family) -> Mapping[str, tuple[int, int]]:
    """Trainable and all parameters of each part, and of the rest under ``other``.

    Adapter weights count to the part that they sit in.
    """
    counts = {part: [0, 0] for part in [*family.parts, "other"]}
    for name, weight in model.named_parameters():
        # Without PEFT's own prefix, whose "model" is not the model's.
        plain = name.removeprefix("base_model.model.")
        part = next(
            (key for key, path in family.parts.items() if f".{path}." in f".{plain}"), "other"
        )
        counts[part][0] += weight.numel() if weight.requires_grad else 0
        counts[part][1] += weight.numel()
    return {part: (trained, total) for part, (trained, total) in counts.items()}
