"""Whether a language model can answer questions that share a prefix: by its configuration, and by its answers."""

from __future__ import annotations

import logging
from typing import Any

import torch

from dramaeval.compat.deepspeed import is_partitioned
from dramaeval.compat.transformers import model_class_for, takes_registered_attention
from dramaeval.models.devices import input_device
from dramaeval.models.errors import ModelError
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion

log = logging.getLogger(__name__)

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
#: ``model_type`` of the language models whose shared prefixes the tests compare with separate questions.
TESTED_DECODERS = WINDOWED_DECODERS | {
    "gemma",
    "granite",
    "llama",
    "opt",
    "qwen2",
    "qwen2_5_omni_text",
    "qwen3",
    "qwen3_omni_moe_text",
}
#: Maximum difference of logits, in standard deviations, for 32 and for 16 bits.
_ALLOWED_32, _ALLOWED_16 = 1e-3, 0.05


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


def check(model: Any, kind: str) -> None:
    """Answer two questions in both layouts and compare the logits.

    Args:
        model: the judge, or PEFT's wrapper around one.
        kind: the name of the language model, for messages.

    Raises:
        ModelError: the answers differ.
    """
    if is_partitioned(model):
        log.warning("Under ZeRO-3 it is not checked that questions of %s can share a prefix.", kind)
        return
    record = _random_record(model.config.get_text_config().vocab_size)
    with torch.inference_mode():
        shared, separate = (
            model(
                **collate([record], pad=0, shared_prefix=layout).to(input_device(model)).inputs
            ).logits.float()
            for layout in (True, False)
        )
    difference = float((shared - separate).abs().max() / separate.std())
    allowed = _ALLOWED_32 if model.dtype == torch.float32 else _ALLOWED_16
    if not difference <= allowed:
        raise ModelError(
            f"With a shared prefix {kind} gives other answers than without (they differ by {difference:.2g} "
            "standard deviations). Set batch.shared_prefix=false: one row a question."
        )


def _random_record(vocabulary: int) -> EncodedRecord:
    """A record with two questions of random tokens, with different lengths and a common beginning."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocabulary, (40,), generator=generator).tolist()
    answer = AnswerTokens(scale=(0, 1), lead=(tokens[0],), scores=(tokens[1], tokens[2]))
    prompts = [(*tokens[3:12], *end) for end in (tokens[12:20], tokens[20:35])]
    questions = [LabelledQuestion(EncodedQuestion(prompt, answer)) for prompt in prompts]
    return EncodedRecord(clips=(), questions=tuple(questions))
