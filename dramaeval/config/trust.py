"""What may be built from a run folder that somebody else may have written: data and this package's own classes.

A ``config.yaml`` names classes under ``_target_``, and whoever writes one could name any function that can be
imported. So a judge is rebuilt from the names below alone; others, and code that comes with a model, need the
caller's own word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: What a judge is rebuilt from. Each keeps its arguments as data: it opens nothing and calls nothing they name.
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
REMOTE_CODE = "trust_remote_code"


def untrusted_targets(values: Any, trust: Sequence[str]) -> list[str]:
    """Every ``_target_`` that is neither this package's nor trusted, with its key and what to do.

    Args:
        values: plain values, as `dramaeval.config.literal.read_plain` gives them.
        trust: names of modules, classes or functions; a module covers all that is in it.
    """
    return [
        f"{key}={name} is not part of dramaeval, and to build it would run its code. If you trust it, say so: "
        f'trust=["{str(name).rpartition(".")[0] or name}"].'
        for key, name in targets_of(values)
        if not (isinstance(name, str) and (name in OWN or _is_trusted(name, trust)))
    ]


def asks_for_remote_code(values: Any) -> bool:
    """Whether a mapping at any depth sets ``trust_remote_code``."""
    if isinstance(values, Mapping):
        inner = any(asks_for_remote_code(value) for value in values.values())
        return bool(values.get(REMOTE_CODE)) or inner
    return isinstance(values, list) and any(asks_for_remote_code(value) for value in values)


def _is_trusted(name: str, trust: Sequence[str]) -> bool:
    return any(name == trusted or name.startswith(f"{trusted}.") for trusted in trust if trusted)


def targets_of(values: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every ``_target_`` in plain values with its key, whatever its value is."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(values, Mapping):
        pairs = list(values.items())
    elif isinstance(values, list):
        pairs = list(enumerate(values))
    for key, value in pairs:
        place = f"{where}.{key}" if where else str(key)
        if key == "_target_":
            yield place, value
        yield from targets_of(value, place)
