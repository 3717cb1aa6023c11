"""The half of the trainer that takes every answer of a scale with its exact probability.

See `dramaeval.training.grpo.enumerated_answers` for what is computed, and `dramaeval.training.grpo.drawing` for the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.utils import pad

from dramaeval.training.grpo.dimension_metrics import NO_SPREAD
from dramaeval.training.grpo.enumerated_answers import weigh
from dramaeval.training.grpo.groups import numbered, part_of

if TYPE_CHECKING:
    from trl import GRPOTrainer
else:
    GRPOTrainer = object


class Enumerating(GRPOTrainer):
    """Mixed into `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`."""

    #: See `dramaeval.training.grpo.policy.Policy`.
    _read_already: tuple[torch.Tensor, torch.Tensor | None] | None

    def _enumerate(self, rows: Sequence[Mapping[str, int]]) -> list[dict[str, Any]]:
        """Every answer of each question with its rewards, dealt out to passes."""
        groups = self._groups_of(rows)
        answers = [group.answers for group in groups]
        read = [
            self._completion(number, groups, tokens)
            for number, some in enumerate(answers)
            for tokens in some
        ]
        self._seen["questions"] += len(groups)
        self._seen["completions"] += len(read)
        device = self.accelerator.device
        owner = [number for number, some in enumerate(answers) for _ in some]
        flat = [torch.tensor(tokens) for some in answers for tokens in some]
        whole: dict[str, Any] = {
            "row": torch.tensor([rows[one]["row"] for one in owner]),
            "epoch": torch.tensor([rows[one]["epoch"] for one in owner]),
            "prompt_ids": torch.zeros(len(flat), 0, dtype=torch.long, device=device),
            "prompt_mask": torch.zeros(len(flat), 0, dtype=torch.long, device=device),
            "completion_ids": pad(
                flat, padding_value=self.record_encoder.pad, padding_side="right"
            ).to(device),
            "completion_mask": pad(
                [torch.ones_like(one) for one in flat], padding_value=0, padding_side="right"
            ).to(device),
            "rewards": self._values(read),
        }
        if self.args.gradient_accumulation_steps % (
            self.args.steps_per_generation * self.num_iterations
        ):
            whole["old_per_token_logps"] = self._read_whole(whole, self.model)
        if self.reference is not None:
            whole["ref_per_token_logps"] = self._read_whole(whole, self.reference)
        tokens = whole["completion_mask"].sum()
        whole["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        bounds = [0]
        for at in range(0, len(groups), self.clips_a_pass):
            bounds.append(bounds[-1] + sum(map(len, answers[at : at + self.clips_a_pass])))
        return [part_of(whole, start, end - start) for start, end in pairwise(bounds)]

    def _read_whole(self, whole: Mapping[str, Any], model: Any) -> torch.Tensor:
        """Log-probabilities of all completions under a policy, as many groups at a time as a pass has."""
        self._places = (whole["row"].tolist(), whole["epoch"].tolist())
        ids, mask = whole["completion_ids"], whole["completion_mask"]
        with torch.no_grad():
            log_p, _, _ = self._get_per_token_logps_and_entropies(
                model, ids, mask, ids.shape[1], batch_size=self.args.per_device_train_batch_size
            )
        return log_p

    def _weighed(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """The answers of a pass with their weights and advantages, by the probabilities of this very pass."""
        ids, mask = inputs["completion_ids"], inputs["completion_mask"]
        log_p, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, mask, ids.shape[1], compute_entropy=True
        )
        self._read_already = (log_p, entropies)
        old = inputs.get("old_per_token_logps", log_p.detach())
        question = numbered(inputs)
        rewards = inputs["rewards"] @ self.reward_weights.to(ids.device)
        weighed = weigh(
            (old * mask).sum(-1), rewards, question, scaled=self.scale_rewards == "group"
        )
        self._note_enumerated(inputs, weighed, question, rewards)
        return {
            **inputs,
            "advantages": weighed.advantages,
            # What TRL multiplies the mask with: tokens count by the probability of their answer.
            "tool_mask": weighed.weights[:, None].to(log_p.dtype),
        }

    def _note_enumerated(
        self, inputs: Mapping[str, Any], weighed: Any, question: torch.Tensor, rewards: torch.Tensor
    ) -> None:
        """Log under TRL's names what it logs of samples, as exact expectations."""
        answers = torch.bincount(question)
        share = weighed.weights / answers[question]
        lengths = inputs["completion_mask"].sum(-1).float()
        count = len(answers)
        figures = {
            "reward": weighed.means.mean(),
            "reward_std": weighed.spreads.mean(),
            "frac_reward_zero_std": (weighed.spreads < NO_SPREAD).float().mean(),
            "outside": weighed.outside.mean(),
            "completions/mean_length": (share * lengths).sum() / count,
        }
        for at, name in enumerate(self.rewards.weights):
            column = inputs["rewards"][:, at]
            figures[f"rewards/{name}/mean"] = (share * column).sum() / count
        values = self.accelerator.reduce(torch.stack(list(figures.values())), reduction="mean")
        for name, value in zip(figures, values.tolist(), strict=True):
            self._metrics["train"][name].append(value)
        lengths = lengths.int().tolist()
        tokens = [
            row[:length]
            for row, length in zip(inputs["completion_ids"].tolist(), lengths, strict=True)
        ]
        start = 0
        for group, size in zip(self._pass_groups(inputs), answers.tolist(), strict=True):
            part = slice(start, start + size)
            read = [self._completion(0, [group], one) for one in tokens[part]]
            self.by_dimension.add_group(read, rewards[part].tolist(), share[part].tolist())
            start += size
