"""Prefix and prompt tuning of a judge: virtual tokens before a prompt with audio.

For prompt tuning PEFT passes the model embeddings without token ids, so that the positions of the audio are unknown.
The wrapper here passes both token ids and virtual tokens; `JudgeModel.answer_logits` inserts the audio and then
prepends the virtual tokens. Prefix tuning adds keys and values of earlier positions and leaves the input unchanged:
there PEFT's forward pass is used.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModelForCausalLM, PeftType


class VirtualTokens(PeftModelForCausalLM):
    """PEFT's wrapper for methods that learn virtual tokens; saves and loads files in PEFT's format."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        *args: Any,
        answer_index: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """PEFT's pass; see `JudgeModel.answer_logits` for the arguments with ``answer_index``."""
        if answer_index is None or input_ids is None:
            return super().forward(input_ids, *args, **kwargs)
        if self.active_peft_config.peft_type == PeftType.PREFIX_TUNING:
            return super().forward(input_ids, answer_index=answer_index, **kwargs)
        virtual = self.get_prompt(batch_size=input_ids.shape[0])
        return self.base_model(
            input_ids=input_ids, answer_index=answer_index, virtual_embeddings=virtual, **kwargs
        )
