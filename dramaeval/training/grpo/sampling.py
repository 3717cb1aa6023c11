"""Samples completions: the random numbers of a group depend only on the seed, the epoch and the record.

They do not depend on the batch or on earlier samples. A run that resumes, or that has another number of processes,
therefore samples the same completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class SamplingParameters:
    """How tokens are sampled; names and meanings as in ``trl.GRPOConfig``.

    Attributes:
        max_tokens: maximum number of tokens of a completion.
        end_tokens: the tokens that end a completion.
        suppressed_tokens: tokens that are never sampled, such as the audio placeholder.
    """

    max_tokens: int
    end_tokens: tuple[int, ...]
    suppressed_tokens: tuple[int, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def processors(self, device: torch.device) -> list[LogitsProcessor]:
        """The logits processors, in the order in which ``generate`` of transformers applies them."""
        processors: list[LogitsProcessor] = []
        if self.repetition_penalty != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.suppressed_tokens:
            tokens = list(self.suppressed_tokens)
            processors.append(SuppressTokensLogitsProcessor(tokens, device=device))
        if self.temperature != 1.0:
            processors.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k > 0:
            processors.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            processors.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            processors.append(MinPLogitsWarper(self.min_p))
        return processors


def sample_completions(
    continuation: Continuation,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    parameters: SamplingParameters,
) -> list[list[list[int]]]:
    """Sample completions.

    Args:
        continuation: the sequences to continue; the sequences of a group are adjacent.
        prompts: the tokens of the prompt of each group.
        seeds: the seed of the random numbers of each group.
        parameters: see `SamplingParameters`.

    Returns:
        the completions of each group as tokens; an end token is included.
    """
    device = continuation.logits.device
    size = len(continuation.logits) // len(prompts)
    processors = parameters.processors(device)
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    completions: list[list[int]] = [[] for _ in range(len(continuation.logits))]
    ended = [False] * len(completions)
    needs_history = parameters.repetition_penalty != 1.0
    for length in range(1, parameters.max_tokens + 1):
        for group, generator in enumerate(generators):
            rows = range(group * size, (group + 1) * size)
            # Every sequence of a group uses random numbers until all sequences of the group have ended.
            if all(ended[row] for row in rows):
                continue
            history = [
                [*prompts[group], *completions[row]] if needs_history else [] for row in rows
            ]
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
                    ended[row] = token in parameters.end_tokens
        if all(ended) or length == parameters.max_tokens:
            break
        continuation.feed([tokens[-1] for tokens in completions])
    return [completions[start : start + size] for start in range(0, len(completions), size)]
