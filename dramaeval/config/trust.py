"""The classes that may be built from the ``config.yaml`` of a run folder.

The file may come from another person, and its ``_target_`` can name any importable function. A judge is therefore
built only from the classes below. Other classes, and code that comes with a model, need the caller's consent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.config.keys import targets_in

#: Classes that store their arguments as data: they open no file and call no function that an argument names.
TRUSTED = frozenset(
    {
        "dramaeval.models.api_model.ApiModel",
        "dramaeval.models.families.audio_flamingo3.AudioFlamingo3",
        "dramaeval.models.families.causal_lm.CausalLM",
        "dramaeval.models.families.composed.Composed",
        "dramaeval.models.families.gemma3n.Gemma3n",
        "dramaeval.models.families.gemma4.Gemma4",
        "dramaeval.models.families.gemma4_unified.Gemma4Unified",
        "dramaeval.models.families.glm_asr.GlmAsr",
        "dramaeval.models.families.granite_speech.GraniteSpeech",
        "dramaeval.models.families.granite_speech.GraniteSpeechPlus",
        "dramaeval.models.families.music_flamingo.MusicFlamingo",
        "dramaeval.models.families.phi4_multimodal.Phi4Multimodal",
        "dramaeval.models.families.qwen2_5_omni.Qwen25Omni",
        "dramaeval.models.families.qwen3_omni.Qwen3Omni",
        "dramaeval.models.families.qwen2_audio.Qwen2Audio",
        "dramaeval.models.families.voxtral.Voxtral",
        "dramaeval.tasks.choice.ChoiceTask",
        "dramaeval.tasks.gated.GatedTask",
        "dramaeval.tasks.mixed.MixedTask",
        "dramaeval.tasks.pair.PairTask",
        "dramaeval.tasks.processed.ProcessedTask",
        "dramaeval.tasks.speech.SpeechTask",
        "dramaeval.tasks.task.Task",
        "dramaeval.tasks.thought.ThoughtTask",
        "dramaeval.tasks.thought_variation.ThoughtVariationTask",
        "dramaeval.tasks.all_dimensions.AllDimensionsTask",
        "dramaeval.tasks.variation.VariationTask",
        "dramaeval.tasks.labels.distribution",
        "transformers.BitsAndBytesConfig",
    }
)


def untrusted_targets(values: Any, trust: Sequence[str]) -> list[str]:
    """A problem for each ``_target_`` in plain values that is neither in `TRUSTED` nor trusted by the caller.

    ``trust`` names modules, classes or functions; the name of a module covers all its classes and functions.
    """
    return [
        f"{key}={name} is not part of dramaeval, and building it would run its code. If you trust it: "
        f'trust=["{str(name).rpartition(".")[0] or name}"].'
        for key, name in targets_in(values)
        if not (isinstance(name, str) and (name in TRUSTED or _is_trusted(name, trust)))
    ]


def asks_for_remote_code(values: Any) -> bool:
    """Whether ``trust_remote_code`` is true in a mapping at any depth."""
    if isinstance(values, Mapping):
        inside = any(map(asks_for_remote_code, values.values()))
        return bool(values.get("trust_remote_code")) or inside
    return isinstance(values, list) and any(map(asks_for_remote_code, values))


def _is_trusted(name: str, trust: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in trust if prefix)
