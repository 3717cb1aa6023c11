"""The part of the trainer that reads completions: what the judge, or the reference, thinks of their tokens.

See `dramaeval.training.grpo.trainer` for the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from dramaeval.models.inputs.collation import Batch
from dramaeval.training.failure_diagnosis import require_finite
from dramaeval.training.grpo.groups import PromptGroup, completions_batch, whole_groups
from dramaeval.training.grpo.reference_policy import ReferencePolicy

if TYPE_CHECKING:
    from trl import GRPOTrainer
else:
    GRPOTrainer = object


class Policy(GRPOTrainer):
    """Mixed into `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`."""

    #: What a pass before has read for the next one to take up.
    _read_already: tuple[torch.Tensor, torch.Tensor | None] | None
    #: What is worked on, for messages.
    current: Batch | None
    #: Row and epoch of what is read.
    _places: tuple[list[int], list[int]]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Log-probabilities and entropies of the completions' tokens, ``[completions, logits_to_keep]``.

        The prompts are not taken from ``input_ids`` but from the questions themselves, with their clips, so
        that padding cannot part them. See `_places` for which questions they are.
        """
        if self._read_already is not None:
            ready, self._read_already = self._read_already, None
            return *ready, None
        ids = input_ids[:, -logits_to_keep:]
        lengths = attention_mask[:, -logits_to_keep:].gt(0).sum(-1).clamp(min=1).tolist()
        completions = [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
        groups = [self.groups(row, epoch) for row, epoch in zip(*self._places, strict=True)]
        parts = []
        for start, end in whole_groups(self._places, batch_size or len(groups)):
            parts.append(
                self._read(model, groups[start:end], completions[start:end], logits_to_keep)
            )
        log_p, entropy = (torch.cat(part) for part in zip(*parts, strict=True))
        self._just_read = (log_p.detach(), entropy.detach())
        return log_p, entropy if compute_entropy else None, None

    def _read(
        self, model: Any, groups: list[PromptGroup], completions: list[list[int]], width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass over completions, the ones of a group next to each other."""
        together: list[tuple[PromptGroup, list[list[int]]]] = []
        for group, tokens in zip(groups, completions, strict=True):
            if not together or together[-1][0] is not group:
                together.append((group, []))
            together[-1][1].append(tokens)
        shared = self.batch_settings["shared_prefix"]
        batch = completions_batch(together, pad=self.record_encoder.pad, shared_prefix=shared)
        batch = self.current = batch.to(self.accelerator.device)
        asked = [group for group, _ in together]
        with self.accelerator.autocast(), self.heard.recalled(asked):
            if isinstance(model, ReferencePolicy):
                with model.in_place(self.accelerator.unwrap_model(self.model), self.model_wrapped):
                    logits = self.model(**batch.inputs).logits
            else:
                logits = model(**batch.inputs).logits
        self._seen["tokens"] += batch.tokens
        self._computed += batch.tokens
        log_p = (logits.float() / self.temperature).log_softmax(dim=-1)
        entropy = -(log_p.exp() * log_p).sum(dim=-1)
        taken = log_p.gather(1, batch.labels[:, None])[:, 0]
        sums = taken.new_zeros(batch.questions).index_add(0, batch.question_of, taken)
        require_finite(sums, self, batch)
        first = batch.score_index - torch.tensor(
            [len(one) - 1 for one in completions], device=batch.score_index.device
        )
        place = batch.question_of * width
        place = place + torch.arange(len(taken), device=place.device) - first[batch.question_of]
        shape = (batch.questions, width)
        return tuple(
            values.new_zeros(shape).view(-1).index_copy(0, place, values).view(shape)
            for values in (taken, entropy)
        )

    def _note_tokens(self, inputs: Mapping[str, Any]) -> None:
        """Count KL, entropy and clipping by dimension."""
        log_p, entropy = self._just_read
        mask = inputs["completion_mask"]
        ratio = (log_p - inputs.get("old_per_token_logps", log_p)).exp()
        better = inputs["advantages"][:, None] > 0
        worse = inputs["advantages"][:, None] < 0
        clipped = (better & (ratio > 1 + self.epsilon_high)) | (
            worse & (ratio < 1 - self.epsilon_low)
        )
        kl = torch.zeros_like(log_p)
        if "ref_per_token_logps" in inputs:
            difference = inputs["ref_per_token_logps"] - log_p
            kl = difference.exp() - difference - 1
        lengths = mask.sum(-1).clamp(min=1)
        columns = [(one * mask).sum(-1) / lengths for one in (kl, entropy, clipped.to(kl.dtype))]
        weights = (mask * inputs.get("tool_mask", torch.ones_like(mask))).sum(-1)
        figures = torch.stack([*columns, weights.to(kl.dtype)], dim=1).tolist()
        for row, epoch, values in zip(*self._places, figures, strict=True):
            places = self.groups(row, epoch).question.places
            self.by_dimension.add_tokens((place.dimension.key for place in places), *values)
