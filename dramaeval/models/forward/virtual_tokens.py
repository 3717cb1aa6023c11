"""Prefix and prompt tuning of a judge: virtual tokens before a prompt with audio.

For prompt tuning, PEFT passes embeddings without token ids to the model, so that the positions of the audio are unknown.
The wrapper in this module passes both token ids and virtual tokens; `JudgeModel.answer_logits` inserts the audio and
then prepends the virtual tokens. Prefix tuning adds keys and values of earlier positions and does not change the input;
it uses PEFT's forward pass.
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
        """Run `JudgeModel.answer_logits` if ``answer_index`` is given, else PEFT's forward pass."""
        if answer_index is None or input_ids is None:
            return super().forward(input_ids, *args, **kwargs)
        if self.active_peft_config.peft_type == PeftType.PREFIX_TUNING:
            return super().forward(input_ids, answer_index=answer_index, **kwargs)
        virtual = self.get_prompt(batch_size=input_ids.shape[0])
        return self.base_model(
            input_ids=input_ids, answer_index=answer_index, virtual_embeddings=virtual, **kwargs
        )
