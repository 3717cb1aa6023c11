"""Checks on a loaded model that questions with a shared prefix have the same logits as separate questions."""

from __future__ import annotations

import logging
from typing import Any

import torch

from dramaeval.compat.deepspeed import is_partitioned
from dramaeval.models.devices import input_device
from dramaeval.models.errors import ModelError
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion

log = logging.getLogger(__name__)

#: Maximum difference of logits, in standard deviations, for 32 and for 16 bits.
_ALLOWED_32, _ALLOWED_16 = 1e-3, 0.05


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
    answer = AnswerTokens(scale=(0, 1), lead=(tokens[0],), scores=(tokens[1], tokens[2]), tail=())
    prompts = [(*tokens[3:12], *end) for end in (tokens[12:20], tokens[20:35])]
    questions = [LabelledQuestion(EncodedQuestion(prompt, answer)) for prompt in prompts]
    return EncodedRecord(clips=(), questions=tuple(questions))
