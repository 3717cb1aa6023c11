"""The classes that may be built from a run folder that somebody else may have written.

A ``config.yaml`` names classes under ``_target_``, and could name any function that can be imported. A judge is
therefore rebuilt from the classes below only; others, and code that comes with a model, need the caller's consent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.config.keys import targets_in

#: Each of these keeps its arguments as data: it opens no file and calls nothing that they name.
OWN = frozenset(
    {
        "dramaeval.models.families.audio_flamingo3.AudioFlamingo3",
        "dramaeval.models.families.causal_lm.CausalLM",
        "dramaeval.models.families.qwen2_5_omni.Qwen25Omni",
        "dramaeval.models.families.qwen2_audio.Qwen2Audio",
        "dramaeval.models.families.voxtral.Voxtral",
        "dramaeval.tasks.choice.ChoiceTask",
        "dramaeval.tasks.gated.GatedTask",
        "dramaeval.tasks.mixed.MixedTask",
        "dramaeval.tasks.processed.ProcessedTask",
        "dramaeval.tasks.task.Task",
        "dramaeval.tasks.thought.ThoughtTask",
        "dramaeval.tasks.all_dimensions.AllDimensionsTask",
        "dramaeval.tasks.variation.VariationTask",
        "dramaeval.tasks.labels.distribution",
        "transformers.BitsAndBytesConfig",
    }
)


def untrusted_targets(values: Any, trust: Sequence[str]) -> list[str]:
    """Problems of every ``_target_`` that is neither in `OWN` nor trusted.

    Args:
        values: plain values, as `dramaeval.config.literal.read_plain` returns them.
        trust: names of modules, classes or functions; a module covers everything in it.
    """
    return [
        f"{key}={name} is not part of dramaeval, and building it would run its code. If you trust it: "
        f'trust=["{str(name).rpartition(".")[0] or name}"].'
        for key, name in targets_in(values)
        if not (isinstance(name, str) and (name in OWN or _is_trusted(name, trust)))
    ]


def asks_for_remote_code(values: Any) -> bool:
    """Whether a mapping at any depth sets ``trust_remote_code``."""
    if isinstance(values, Mapping):
        inside = any(map(asks_for_remote_code, values.values()))
        return bool(values.get("trust_remote_code")) or inside
    return isinstance(values, list) and any(map(asks_for_remote_code, values))


def _is_trusted(name: str, trust: Sequence[str]) -> bool:
    return any(name == trusted or name.startswith(f"{trusted}.") for trusted in trust if trusted)
