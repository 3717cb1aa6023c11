"""An estimator that uses every answer of a scale with its exact probability, instead of samples.

For one question let p(k) be the policy's probability of all tokens of the answer k, and q(k) = p(k) / Σ_j p(j) its
share among the answers of the scale. The advantage of answer k is r(k) − Σ_j q(j) r(j), divided by the standard
deviation under q if ``scale_rewards=group``, and answer k has weight q(k) in the loss. The gradient is therefore
Σ_k q(k) ∇log p(k) (r(k) − Σ_j q(j) r(j)). This is the expectation of GRPO's gradient over completions that are answers
of the scale, with two differences: GRPO's baseline is the mean of the same samples, which multiplies its gradient by
(G − 1)/G; and completions that are not answers do not count here, so that a judge is not trained to write the form of
an answer. The probability of such completions is logged (``outside``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from dramaeval.training.grpo.dimension_metrics import NO_SPREAD
from dramaeval.training.grpo.policy_scorer import TokenScores
from dramaeval.training.grpo.prompt_groups import PromptGroup, Rows, number_groups, pass_rows
from dramaeval.training.grpo.saved_generation import Pass, divide


@dataclass(frozen=True)
class AnswerWeights:
    """Weights and advantages of the answers to some questions.

    Attributes:
        weights: q of each answer times the number of answers of its question, so that the mean is 1, ``[answers]``.
        advantages: the advantage of each answer, ``[answers]``.
        means: Σ q r of each question, ``[questions]``.
        spreads: the standard deviation of r under q, ``[questions]``.
        outside: probability of all texts that are not an answer of the scale, ``[questions]``.
    """

    weights: torch.Tensor
    advantages: torch.Tensor
    means: torch.Tensor
    spreads: torch.Tensor
    outside: torch.Tensor


def weigh_answers(
    log_p: torch.Tensor, rewards: torch.Tensor, question: torch.Tensor, *, scaled: bool
) -> AnswerWeights:
    """Compute weights and advantages in float64.

    Args:
        log_p: log-probability of each answer under the old policy, ``[answers]``.
        rewards: the reward of each answer, ``[answers]``.
        question: number of the question of each answer, from 0 without gaps, int64 ``[answers]``.
        scaled: whether to divide advantages by the standard deviation.
    """
    log_p, rewards = log_p.detach().double(), rewards.double()
    count = int(question.max()) + 1

    def sums(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(count).index_add(0, question, values)

    # The division is done in logarithms, so that answers with tiny probabilities have exact shares.
    largest = log_p.new_full((count,), -torch.inf).scatter_reduce(0, question, log_p, "amax")
    shares = (log_p - largest[question]).exp()
    q = shares / sums(shares)[question]
    means = sums(q * rewards)
    advantages = rewards - means[question]
    spreads = sums(q * advantages**2).sqrt()
    if scaled:
        advantages = advantages / (spreads[question] + 1e-4)
    return AnswerWeights(
        weights=(q * sums(torch.ones_like(q))[question]).float(),
        advantages=advantages.float(),
        means=means.float(),
        spreads=spreads.float(),
        outside=(1 - sums(log_p.exp())).clamp(min=0).float(),
    )


class EnumeratedEstimator:
    """Uses all answers of the scale; each training pass computes their weights and advantages."""

    def generate(self, trainer: Any, rows: Rows) -> list[Pass]:
        """Enumerate the answers of each group with their rewards."""
        groups = trainer.groups_of(rows)
        sizes = [len(group.answers) for group in groups]
        by_answer = [group for group in groups for _ in group.answers]
        completions = [
            trainer.read(group, number, tokens)
            for number, group in enumerate(groups)
            for tokens in group.answers
        ]
        trainer.statistics.count(questions=len(groups), completions=len(completions))
        device, pad = trainer.accelerator.device, trainer.record_encoder.pad
        ids = [torch.tensor(tokens) for group in groups for tokens in group.answers]
        mask = [torch.ones_like(tokens) for tokens in ids]
        no_prompt = torch.zeros(len(ids), 0, dtype=torch.long, device=device)
        generation: Pass = {
            **pass_rows(rows, sizes),
            "prompt_ids": no_prompt,
            "prompt_mask": no_prompt,
            "completion_ids": pad_sequence(ids, batch_first=True, padding_value=pad).to(device),
            "completion_mask": pad_sequence(mask, batch_first=True).to(device),
            "rewards": trainer.rewards(completions).to(device),
        }
        if trainer.needs_old_policy:
            generation["old_per_token_logps"] = trainer.score(by_answer, generation)
        if trainer.reference is not None:
            generation["ref_per_token_logps"] = trainer.score(by_answer, generation, reference=True)
        tokens = generation["completion_mask"].sum()
        generation["num_items_in_batch"] = trainer.accelerator.gather(tokens).sum()
        step = trainer.groups_per_pass
        starts = range(0, len(sizes), step)
        return divide(generation, [sum(sizes[start : start + step]) for start in starts])

    def loss_inputs(
        self, trainer: Any, inputs: Pass, groups: Sequence[PromptGroup], scores: TokenScores
    ) -> Pass:
        """Add the advantages, and the weights as ``tool_mask``, which TRL multiplies with the mask of the tokens."""
        log_p = inputs.get("old_per_token_logps", scores[0].detach())
        question = number_groups(groups).to(log_p.device)
        rewards = trainer.rewards.total(inputs["rewards"])
        answers = weigh_answers(
            (log_p * inputs["completion_mask"]).sum(-1),
            rewards,
            question,
            scaled=trainer.scale_rewards == "group",
        )
        self._record(trainer, inputs, groups, answers, question, rewards)
        return {
            **inputs,
            "advantages": answers.advantages,
            "tool_mask": answers.weights[:, None].to(log_p.dtype),
        }

    def _record(
        self,
        trainer: Any,
        inputs: Pass,
        groups: Sequence[PromptGroup],
        answers: AnswerWeights,
        question: torch.Tensor,
        rewards: torch.Tensor,
    ) -> None:
        """Record the exact expectations of the figures that TRL records for samples, under the same names."""
        sizes = torch.bincount(question)
        share = answers.weights / sizes[question]  # q
        mean = share / len(sizes)
        lengths = inputs["completion_mask"].sum(-1)
        figures = {
            "reward": answers.means.mean(),
            "reward_std": answers.spreads.mean(),
            "frac_reward_zero_std": (answers.spreads < NO_SPREAD).float().mean(),
            "outside": answers.outside.mean(),
            "completions/mean_length": (mean * lengths).sum(),
        }
        for name, values in zip(trainer.rewards.weights, inputs["rewards"].T, strict=True):
            figures[f"rewards/{name}/mean"] = (mean * values).sum()
        for name, value in figures.items():
            trainer.statistics.add(name, value.item())
        tokens = [
            ids[:length]
            for ids, length in zip(inputs["completion_ids"].tolist(), lengths.tolist(), strict=True)
        ]
        start = 0
        for size in sizes.tolist():
            part = slice(start, start + size)
            completions = [trainer.read(groups[start], 0, answer) for answer in tokens[part]]
            trainer.by_dimension.add_group(
                completions, rewards[part].tolist(), share[part].tolist()
            )
            start += size
