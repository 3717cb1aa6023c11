"""Prefix and prompt tuning on a judge: virtual tokens in front of a prompt that holds audio.

PEFT puts the embeddings of prompt tuning in front of those of the words, and hands the model embeddings
alone; where the audio belongs can then no longer be seen. So the judge gets both, and prepends the virtual
tokens itself after it has placed the audio (`AnsweringModel.answer`). Prefix tuning comes as keys and values
of earlier positions, which leave the input as it is; there PEFT's own pass is right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModelForCausalLM, PeftType


class VirtualTokens(PeftModelForCausalLM):
    """PEFT's wrapper for methods that learn virtual tokens; its files are PEFT's own."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        *args: Any,
        answer_index: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As PEFT does it, but with the audio in its place; see `AnsweringModel.answer` for the arguments."""
        if answer_index is None or input_ids is None:
            return super().forward(input_ids, *args, **kwargs)
        if self.active_peft_config.peft_type == PeftType.PREFIX_TUNING:
            return super().forward(input_ids, answer_index=answer_index, **kwargs)
        virtual = self.get_prompt(batch_size=input_ids.shape[0])
        return self.base_model(
            input_ids=input_ids, answer_index=answer_index, virtual_embeddings=virtual, **kwargs
        )


def load_virtual_tokens(
    model: Any, folder: Path, config: PeftConfig, *, trainable: bool
) -> VirtualTokens:
    """Put saved virtual tokens in front of a model.

    PEFT's own loader refuses to make them trainable again, for the sake of prefixes with a projection, which
    it does not save.

    Args:
        model: the base.
        folder: with PEFT's files.
        config: as read from there.
        trainable: whether training goes on.
    """
    config.inference_mode = not trainable
    wrapped = VirtualTokens(model, config)
    wrapped.load_adapter(folder, "default", is_trainable=trainable)
    return wrapped
