"""Prefix and prompt tuning of a judge: virtual tokens before a prompt with audio.

For prompt tuning PEFT prepends embeddings to those of the words and passes the model embeddings alone, in which the
place of the audio can no longer be found. So the judge gets both, and prepends the virtual tokens after it has inserted
the audio (`JudgeModel.answer_logits`). Prefix tuning comes as keys and values of earlier positions and leaves the
input unchanged: there PEFT's own pass is used.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModelForCausalLM, PeftType


class VirtualTokens(PeftModelForCausalLM):
    """PEFT's wrapper for methods that learn virtual tokens; it saves and loads PEFT's own files."""

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
