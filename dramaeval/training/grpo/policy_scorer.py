"""Log-probabilities of completions under a model; the prompt and clip of a group are computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from dramaeval.training.failure_diagnosis import require_finite
from dramaeval.training.grpo.completion_batches import completions_batch
from dramaeval.training.grpo.prompt_groups import PromptGroup
from dramaeval.training.grpo.step_audio_cache import StepAudioCache

#: Log-probabilities and entropies of tokens, both float32 ``[completions, width]``; 0 after the end of a completion.
TokenScores = tuple[torch.Tensor, torch.Tensor]


class PolicyScorer:
    """Scores the tokens of completions.

    Args:
        trainer: a `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`; its arguments give the temperature, which divides
            the logits, and its settings ``batch.shared_prefix``.

    Attributes:
        audio: the cache of the step's clips.
        shared_prefix: see `dramaeval.training.grpo.completion_batches.completions_batch`.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.shared_prefix: bool = trainer.batch_settings["shared_prefix"]
        self.audio = StepAudioCache(trainer)

    def __call__(
        self,
        model: Any,
        groups: Sequence[PromptGroup],
        ids: torch.Tensor,
        mask: torch.Tensor,
        at_once: int | None = None,
    ) -> TokenScores:
        """Score completions.

        Args:
            model: the policy.
            groups: the group of each completion; the completions of a group are adjacent.
            ids: the tokens of the completions, padded on the right, ``[completions, width]``.
            mask: 1 for tokens of a completion, 0 for padding, ``[completions, width]``.
            at_once: minimum number of completions in every forward pass but the last; a group is never divided. None
                scores all completions in one pass.
        """
        # A masked completion (mask_truncated_completions) keeps one token, because the batch needs one.
        lengths = mask.gt(0).sum(-1).clamp(min=1).tolist()
        completions = [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
        parts = [
            self._score(model, groups[span], completions[span], ids.shape[1])
            for span in _spans(groups, at_once or len(groups))
        ]
        log_p, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return log_p, entropies

    def _score(
        self,
        model: Any,
        groups: Sequence[PromptGroup],
        completions: Sequence[Sequence[int]],
        width: int,
    ) -> TokenScores:
        """Score completions in one forward pass."""
        prompts: list[tuple[PromptGroup, list[Sequence[int]]]] = []
        for group, tokens in zip(groups, completions, strict=True):
            if not prompts or prompts[-1][0] is not group:
                prompts.append((group, []))
            prompts[-1][1].append(tokens)
        trainer, accelerator = self.trainer, self.trainer.accelerator
        pad = trainer.record_encoder.pad
        batch = completions_batch(prompts, pad=pad, shared_prefix=self.shared_prefix)
        batch = batch.to(accelerator.device)
        trainer.begin_pass(batch)
        with accelerator.autocast(), self.audio.used([group for group, _ in prompts]):
            logits = model(**batch.inputs).logits
        log_p = (logits.float() / trainer.args.temperature).log_softmax(dim=-1)
        entropy = -(log_p.exp() * log_p).sum(dim=-1)
        log_p = log_p.gather(1, batch.labels[:, None])[:, 0]
        sums = log_p.new_zeros(batch.questions).index_add(0, batch.question_of, log_p)
        require_finite(sums, trainer, batch)
        lengths = list(map(len, completions))
        return _in_rows(log_p, lengths, width), _in_rows(entropy, lengths, width)


def _in_rows(values: torch.Tensor, lengths: Sequence[int], width: int) -> torch.Tensor:
    """Put the values of all tokens, completion after completion, into rows ``[completions, width]``."""
    rows = pad_sequence(list(values.split(list(lengths))), batch_first=True)
    return nn.functional.pad(rows, (0, width - rows.shape[1]))


def _spans(groups: Sequence[PromptGroup], size: int) -> Iterator[slice]:
    """Spans of at least ``size`` completions (the last may be smaller) that do not divide a group."""
    start = 0
    for end in range(1, len(groups) + 1):
        last = end == len(groups)
        if last or (end - start >= size and groups[end] is not groups[end - 1]):
            yield slice(start, end)
            start = end
