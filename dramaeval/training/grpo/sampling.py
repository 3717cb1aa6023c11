"""Samples completions: the random numbers of a group depend only on the seed, the epoch and the record.

They do not depend on the batch or on earlier samples. A run that resumes, or that has another number of processes,
therefore samples the same completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from dramaeval.models.forward.generation import Continuation
from dramaeval.training.grpo.prompt_groups import PromptGroup


def logits_processors(trainer: Any, device: torch.device) -> list[LogitsProcessor]:
    """The processors of the trainer's arguments, in the order in which ``generate`` of transformers applies them."""
    processors: list[LogitsProcessor] = []
    if trainer.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(trainer.repetition_penalty))
    if suppressed := suppressed_tokens(trainer):
        processors.append(SuppressTokensLogitsProcessor(suppressed, device=device))
    if trainer.temperature != 1.0:
        processors.append(TemperatureLogitsWarper(trainer.temperature))
    if trainer.top_k > 0:
        processors.append(TopKLogitsWarper(trainer.top_k))
    if trainer.top_p < 1.0:
        processors.append(TopPLogitsWarper(trainer.top_p))
    if trainer.min_p is not None:
        processors.append(MinPLogitsWarper(trainer.min_p))
    return processors


def suppressed_tokens(trainer: Any) -> list[int]:
    """The tokens that are never sampled: token ids without a text, and the audio placeholder."""
    encoder = trainer.record_encoder
    vocabulary = trainer.model.config.get_text_config().vocab_size
    tokens = [*range(len(encoder.encoder.tokenizer), vocabulary)]
    return [*tokens, encoder.audio_token] if encoder.family.takes_audio else tokens


def sample_completions(
    trainer: Any, continuation: Continuation, groups: Sequence[PromptGroup]
) -> list[list[int]]:
    """Sample completions.

    Args:
        trainer: a `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`.
        continuation: the sequences to continue, equally many for each group; those of a group are adjacent.
        groups: the groups.

    Returns:
        the completions as tokens, group by group; an end token is included.
    """
    device = continuation.logits.device
    size = len(continuation.logits) // len(groups)
    processors = logits_processors(trainer, device)
    generators = [torch.Generator(device).manual_seed(group.seed) for group in groups]
    completions: list[list[int]] = [[] for _ in range(len(continuation.logits))]
    ended = [False] * len(completions)
    needs_history = trainer.repetition_penalty != 1.0
    for length in range(1, trainer.max_completion_length + 1):
        for number, (group, generator) in enumerate(zip(groups, generators, strict=True)):
            rows = range(number * size, (number + 1) * size)
            # Every sequence of a group uses random numbers until all sequences of the group have ended.
            if all(ended[row] for row in rows):
                continue
            history = [[*group.prompt, *completions[row]] if needs_history else [] for row in rows]
            if needs_history:
                width = max(map(len, history))
                history = [tokens + tokens[-1:] * (width - len(tokens)) for tokens in history]
            scores = continuation.logits[rows.start : rows.stop].float()
            ids = torch.tensor(history, device=device, dtype=torch.long)
            for processor in processors:
                scores = processor(ids, scores)
            sampled = torch.multinomial(scores.softmax(dim=-1), 1, generator=generator)[:, 0]
            for row, token in zip(rows, sampled.tolist(), strict=True):
                if not ended[row]:
                    completions[row].append(token)
                    ended[row] = token in trainer.eos_token_ids
        if all(ended) or length == trainer.max_completion_length:
            break
        continuation.feed([tokens[-1] for tokens in completions])
    return completions
