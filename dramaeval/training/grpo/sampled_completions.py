"""Completions drawn from a judge: a group for every question, each group with random numbers of its own.

So what is drawn for a question depends on the seed, the epoch and the record alone, and neither on the batch
that it is in nor on what was drawn before: a run that is resumed, or spread over other processes, draws the
same.
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
class Sampling:
    """How tokens are drawn; names and meanings are those of ``trl.GRPOConfig``.

    Attributes:
        most: tokens of a completion at most.
        ends: tokens that end a completion.
        never: tokens that are never drawn, such as the placeholder of audio.
    """

    most: int
    ends: tuple[int, ...]
    never: tuple[int, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def steps(self, device: torch.device) -> list[LogitsProcessor]:
        """transformers' own processors, in the order in which its generation applies them."""
        found: list[LogitsProcessor] = []
        if self.repetition_penalty != 1.0:
            found.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.never:
            found.append(SuppressTokensLogitsProcessor(list(self.never), device=device))
        if self.temperature != 1.0:
            found.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k > 0:
            found.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1.0:
            found.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            found.append(MinPLogitsWarper(self.min_p))
        return found


def sample(
    going: Continuation,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    how: Sampling,
) -> list[list[list[int]]]:
    """Draw completions.

    Args:
        going: the sequences, those of a group one after the other.
        prompts: the tokens before, one prompt a group.
        seeds: of each group's random numbers.
        how: see `Sampling`.

    Returns:
        for each group its completions as tokens, with the one that ended each if it was ended.
    """
    device = going.logits.device
    size = len(going.logits) // len(prompts)
    steps = how.steps(device)
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
    drawn: list[list[int]] = [[] for _ in range(len(going.logits))]
    ended = [False] * len(drawn)
    # Only a penalty for repetition looks at what is before.
    remembers = how.repetition_penalty != 1.0
    for length in range(1, how.most + 1):
        for group, generator in enumerate(generators):
            rows = range(group * size, (group + 1) * size)
            # The random numbers of a group are drawn until all of it has ended, for each of its sequences.
            if all(ended[row] for row in rows):
                continue
            before = [[*prompts[group], *drawn[row]] if remembers else [] for row in rows]
            if remembers:
                width = max(map(len, before))
                before = [one + one[-1:] * (width - len(one)) for one in before]
            scores = going.logits[rows.start : rows.stop].float()
            ids = torch.tensor(before, device=device, dtype=torch.long)
            for step in steps:
                scores = step(ids, scores)
            tokens = torch.multinomial(scores.softmax(dim=-1), 1, generator=generator)[:, 0]
            for row, token in zip(rows, tokens.tolist(), strict=True):
                if not ended[row]:
                    drawn[row].append(token)
                    ended[row] = token in how.ends
        if all(ended) or length == how.most:
            break
        going.feed([one[-1] for one in drawn])
    return [drawn[at : at + size] for at in range(0, len(drawn), size)]
