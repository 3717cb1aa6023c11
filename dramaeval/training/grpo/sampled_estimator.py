"""The estimator of the GRPO paper: completions are sampled from the judge and compared with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dramaeval.compat.trl import generate_and_score, model_for_generation
from dramaeval.models.forward.generation import (
    CachedGeneration,
    Continuation,
    UncachedGeneration,
    supports_cache,
)
from dramaeval.models.inputs.collation import EncodedRecord, collate
from dramaeval.training.grpo.completion_batches import prompts_to_continue
from dramaeval.training.grpo.policy_scorer import TokenScores
from dramaeval.training.grpo.prompt_groups import PromptGroup, Rows, pass_rows
from dramaeval.training.grpo.sampling import sample_completions
from dramaeval.training.grpo.saved_generation import Pass, divide

#: The field of TRL's samples that has the rewards of a completion by name.
REWARDS = "judge_rewards"


class SampledEstimator:
    """Samples completions; TRL computes advantages and loss.

    `EnumeratedEstimator` has the same methods ``generate`` and ``loss_inputs``, whose argument ``trainer`` is a
    `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`.
    """

    def __init__(self) -> None:
        self._groups: Sequence[PromptGroup] = ()  # the groups of the generation, without repetition

    def generate(self, trainer: Any, rows: Rows) -> list[Pass]:
        """Make the passes of a new generation by sampling completions of each group, which TRL scores and rewards.

        The completions of a group are in the same pass.
        """
        self._groups, copies = trainer.groups_of(rows), trainer.num_generations
        completions = [group for group in self._groups for _ in range(copies)]
        samples = [{"prompt": " × ".join(group.about)} for group in completions]
        with trainer.scoring(completions):
            generation = generate_and_score(trainer, samples)
        generation |= pass_rows(rows, [copies] * len(rows))
        size = copies * trainer.groups_per_pass
        return divide(generation, [size] * (len(completions) // size))

    def loss_inputs(
        self, trainer: Any, inputs: Pass, groups: Sequence[PromptGroup], scores: TokenScores
    ) -> Pass:
        """Return the inputs of TRL's loss unchanged, because TRL has already computed the advantages.

        Args:
            trainer: the trainer.
            inputs: the inputs of the pass.
            groups: the group of each completion.
            scores: scores of the tokens of the completions, with gradients.
        """
        return inputs

    def rollout(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Generate the completions of all groups for TRL (``rollout_func``), with their rewards as an extra field."""
        copies = len(prompts) // len(self._groups)
        log_p = None
        if trainer.use_vllm:  # for judges without audio, see dramaeval.training.grpo.settings
            _, ids, top, _ = trainer.vllm_generation.generate(
                prompts=[list(group.prompt) for group in self._groups for _ in range(copies)],
                images=None,
                num_generations=copies,
            )
            log_p = [[candidates[0] for candidates in sequence] for sequence in top]
        else:
            ids = self._sample(trainer, copies)
        completions = [
            trainer.read(self._groups[number // copies], number // copies, tokens)
            for number, tokens in enumerate(ids)
        ]
        values = trainer.rewards(completions)
        totals = trainer.rewards.total(values).tolist()
        for start in range(0, len(completions), copies):
            group = slice(start, start + copies)
            trainer.by_dimension.add_group(completions[group], totals[group])
        trainer.statistics.count(questions=len(self._groups), completions=len(completions))
        names = list(trainer.rewards.weights)
        return {
            "prompt_ids": [list(group.prompt) for group in self._groups for _ in range(copies)],
            "completion_ids": ids,
            "logprobs": log_p,
            REWARDS: [dict(zip(names, row, strict=True)) for row in values.tolist()],
        }

    def _sample(self, trainer: Any, copies: int) -> list[list[int]]:
        """Sample the completions of all groups, ``groups_per_pass`` groups at a time."""
        completions: list[list[int]] = []
        training = trainer.model.training
        with (
            model_for_generation(trainer) as model,
            torch.no_grad(),
            trainer.accelerator.autocast(),
        ):
            model.eval()
            for start in range(0, len(self._groups), trainer.groups_per_pass):
                groups = self._groups[start : start + trainer.groups_per_pass]
                continuation = continue_prompts(trainer, model, groups, copies)
                completions += sample_completions(trainer, continuation, groups)
        trainer.model.train(training)
        return completions


def continue_prompts(
    trainer: Any, model: Any, groups: Sequence[PromptGroup], copies: int
) -> Continuation:
    """Begin ``copies`` completions of each group; the completions of a group are adjacent."""
    shared, pad = trainer.scorer.shared_prefix, trainer.record_encoder.pad
    device = trainer.accelerator.device
    if supports_cache(model):
        # Completions with the same prompt continue from one copy of its keys and values.
        branches = copies if shared else 1
        prompts = prompts_to_continue(groups, copies // branches, shared_prefix=shared)
        with trainer.scorer.audio.used(groups), torch.inference_mode():
            return CachedGeneration(model, prompts, pad, device, branches)

    def logits_at_end(encoded_records: Sequence[EncodedRecord]) -> torch.Tensor:
        batch = collate(encoded_records, pad=pad, shared_prefix=shared).to(device)
        return model(**batch.inputs).logits[batch.score_index]

    prompts = prompts_to_continue(groups, copies, shared_prefix=shared)
    return UncachedGeneration(prompts, logits_at_end)
