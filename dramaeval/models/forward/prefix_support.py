"""Decides whether a language model can answer questions that share a prefix."""

from __future__ import annotations

from typing import Any

from dramaeval.compat.transformers import model_class_for, takes_registered_attention

#: ``model_type`` of the language models whose shared prefixes the tests compare with separate questions.
TESTED_DECODERS = frozenset(
    {
        "gemma",
        "gemma3_text",
        "gemma3n_text",
        "gemma4_text",
        "gemma4_unified_text",
        "granite",
        "llama",
        "mistral",
        "opt",
        "phi4_multimodal",
        "qwen2",
        "qwen2_5_omni_text",
        "qwen3",
        "qwen3_omni_moe_text",
    }
)
#: Tested language models whose layers pass their sliding window to the attention, which applies it within a path.
WINDOWED_DECODERS = frozenset(
    {
        "gemma3_text",
        "gemma3n_text",
        "gemma4_text",
        "gemma4_unified_text",
        "mistral",
        "phi4_multimodal",
    }
)


def problem(text: Any) -> str | None:
    """Why questions of a language model cannot share a prefix, as a sentence; None if they can.

    Args:
        text: the configuration of the language model.
    """
    kind = text.model_type
    layers = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
    if kind in WINDOWED_DECODERS:
        layers -= {"sliding_attention"}
    if layers:
        names = ", ".join(sorted(layers))
        return f"{kind} has layers of {names}, whose questions cannot share a prefix."
    window = getattr(text, "sliding_window", None)
    if window and getattr(text, "use_sliding_window", True) and kind not in WINDOWED_DECODERS:
        return f"{kind} attends within a window of {window} tokens: its questions cannot share a prefix."
    decoder = model_class_for(text)
    if decoder is not None and not takes_registered_attention(decoder):
        return f"{kind} has its own attention in transformers: its questions cannot share a prefix."
    return None
