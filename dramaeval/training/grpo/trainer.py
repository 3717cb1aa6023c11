"""GRPO (Shao et al. 2024, arXiv 2402.03300): TRL's GRPOTrainer for judges.

TRL provides loss, clipping, KL, scaling of rewards, logging and the training loop. Other classes provide the rest:

- `PromptGroups`: the questions;
- `SampledEstimator` or `EnumeratedEstimator`: the completions, and the weights of their losses;
- `PolicyScorer`: the log-probabilities of the completions, with the clip of the question;
- `ReferencePolicy`: the policy before training;
- `WeightedRewards`: the rewards;
- `Generation`: the passes over a generation.

dramaeval counts the size of batches in records, TRL in completions. A record has one question (a pair whose clips are
scored singly has one about each clip), and a question has ``num_generations`` completions.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import trl

from dramaeval.compat.trl import grpo_hooks, quiet_rollout, without_reference_model
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.grpo.dimension_metrics import DimensionMetrics
from dramaeval.training.grpo.enumerated_estimator import EnumeratedEstimator
from dramaeval.training.grpo.policy_scorer import PolicyScorer, TokenScores
from dramaeval.training.grpo.prompt_groups import (
    GenerationBatchSampler,
    PromptGroup,
    PromptGroups,
    Rows,
    too_long,
)
from dramaeval.training.grpo.reference_policy import ReferencePolicy
from dramaeval.training.grpo.sampled_estimator import REWARDS, SampledEstimator
from dramaeval.training.grpo.saved_generation import Generation, Pass
from dramaeval.training.grpo.settings import SAMPLED
from dramaeval.training.judge_trainer import JudgeTrainer
from dramaeval.training.question_sampler import QuestionSampler, Sampler
from dramaeval.training.rewards.completion import Completion, read_completion
from dramaeval.training.rewards.weighted_rewards import WeightedRewards
from dramaeval.training.step_batches import EpochOrder

log = logging.getLogger(__name__)


@grpo_hooks
class JudgeGRPOTrainer(JudgeTrainer, trl.GRPOTrainer):
    """TRL's GRPOTrainer for judges; `JudgeTrainer` describes the other arguments.

    Args:
        args: `trl.GRPOConfig`; ``per_device_train_batch_size`` is a multiple of ``num_generations``, so that the
            completions of a question stay together.
        estimator: ``sampled`` samples completions; ``enumerated`` takes every answer of the scale with its exact
            probability (see `dramaeval.training.grpo.enumerated_estimator`).
        rewards: see `dramaeval.training.rewards.weighted_rewards.WeightedRewards`.
        augment: see `QuestionSampler`.
        sampler: gives the question of a record in an epoch; None samples the questions of the task.
    """

    rates = ("tokens", "questions", "completions")
    eos_token_ids: list[int]

    def __init__(
        self,
        *,
        model: Any,
        args: trl.GRPOConfig,
        record_encoder: RecordEncoder,
        train_records: Sequence[Record],
        val_records: Sequence[Record] = (),
        estimator: str = SAMPLED,
        rewards: Mapping[str, Any],
        batch: Mapping[str, Any],
        callbacks: Sequence[Any] = (),
        learning_rates: dict[str, float | None] | None = None,
        sampler: Sampler | None = None,
        augment: str = "none",
    ) -> None:
        self.rewards = WeightedRewards(rewards)
        self.groups = PromptGroups(
            sampler
            or QuestionSampler(
                train_records, record_encoder, args.seed, one_prompt=True, augment=augment
            ),
            args.seed,
        )
        self.reference = ReferencePolicy(model) if args.beta else None
        self.estimator = SampledEstimator() if estimator == SAMPLED else EnumeratedEstimator()
        self.by_dimension = DimensionMetrics()
        self._scored_groups: Sequence[PromptGroup] = ()
        self._scores: TokenScores | None = None
        args.reward_weights = list(self.rewards.weights.values())
        with without_reference_model(args), quiet_rollout():
            super().__init__(
                model=model,
                args=args,
                record_encoder=record_encoder,
                order=EpochOrder.of_records(train_records, record_encoder.task, args.seed),
                train_records=train_records,
                val_records=val_records,
                batch=batch,
                learning_rates=learning_rates,
                reward_funcs=[_reward_func(name) for name in self.rewards.weights],
                rollout_func=getattr(self.estimator, "rollout", None),
                # TRL would look for images if this were a processor.
                processing_class=record_encoder.encoder.tokenizer,
                callbacks=list(callbacks),
            )
        self.processing_class = record_encoder.processor
        self.beta = args.beta
        self.ref_model = self.reference  # TRL passes it to `score_completions`
        self.aux_loss_enabled = False  # a judge's forward pass returns no loss of expert balance
        end_of_turn = record_encoder.encoder.tokenise(record_encoder.encoder.end_of_turn)[-1]
        self.eos_token_ids = sorted({end_of_turn, *self.eos_token_ids})
        self.generation = Generation(args.steps_per_generation, args.num_iterations)
        self.scorer = PolicyScorer(self)
        log.info("Reward: %s; %s answers.", self.rewards.formula(), estimator)

    # Passes

    @property
    def groups_per_pass(self) -> int:
        """The number of questions in a forward pass of one process."""
        return int(self.args.per_device_train_batch_size // self.num_generations)

    def batch_sampler(self) -> torch.utils.data.Sampler[list[int]]:
        """Yields the records of a generation, once for each pass over it."""
        generation, prompts = self.generation, self.record_encoder.task.prompts_per_record
        return GenerationBatchSampler(
            self.order,
            self.groups_per_pass // prompts * generation.steps,
            generation.steps * generation.iterations,
            self.args.process_index,
            self.args.world_size,
        )

    def next_inputs(self, rows: Rows) -> Pass:
        """The next pass over the generation, or the first pass over a new one."""
        places = range(self.record_encoder.task.prompts_per_record)
        rows = [{**row, "place": place} for row in rows for place in places]
        return self.generation.next(lambda: self.estimator.generate(self, rows))

    def groups_of(self, rows: Rows) -> list[PromptGroup]:
        """The group of each row.

        Raises:
            BadRecordsError: the model has too few positions for a prompt and a completion.
        """
        groups = [self.groups(row["record"], row["epoch"], row.get("place", 0)) for row in rows]
        text = self.model.config.get_text_config()
        positions = getattr(text, "max_position_embeddings", sys.maxsize)
        completion = self.max_completion_length
        if problems := [
            too_long(group.record, len(group.prompt), completion, positions)
            for group in groups
            if len(group.prompt) + completion > positions
        ]:
            raise BadRecordsError(problems)
        return groups

    def read(self, group: PromptGroup, number: int, tokens: Sequence[int]) -> Completion:
        """Make the input of the rewards from the tokens of a completion; ``number`` is the number of its group."""
        encoder = self.record_encoder.encoder
        finished = tokens[-1] in self.eos_token_ids
        text = encoder.tokenizer.decode(list(tokens), skip_special_tokens=False)
        if finished and text.endswith(encoder.end_of_turn):
            text = text.removesuffix(encoder.end_of_turn)
        elif finished:
            text = encoder.tokenizer.decode(list(tokens)[:-1], skip_special_tokens=False)
        completion = read_completion(
            self.record_encoder.task,
            group.record,
            group.question,
            group.targets,
            group=number,
            text=text,
            tokens=len(tokens),
            finished=finished,
        )
        if completion.thought is None:
            return completion
        return replace(completion, thought_tokens=len(encoder.tokenise(completion.thought)))

    # Scores and loss

    @property
    def needs_old_policy(self) -> bool:
        """Whether the weights change between the passes over a generation, by the same rule as in TRL."""
        passes = self.generation.steps * self.generation.iterations
        return bool(self.args.gradient_accumulation_steps % passes)

    @contextmanager
    def scoring(self, groups: Sequence[PromptGroup]) -> Iterator[None]:
        """Set the groups of the completions that TRL scores in this block, one group per completion."""
        self._scored_groups = groups
        try:
            yield
        finally:
            self._scored_groups = ()

    def score(
        self, groups: Sequence[PromptGroup], inputs: Pass, *, reference: bool = False
    ) -> torch.Tensor:
        """Log-probabilities of the tokens of completions under the policy or the reference, without gradients."""
        model = self.reference if reference else self.model
        ids, mask = inputs["completion_ids"], inputs["completion_mask"]
        with torch.no_grad(), self.scoring(groups):
            log_p, _ = self.score_completions(
                model, ids, mask, self.args.per_device_train_batch_size
            )
        return log_p

    def score_completions(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, at_once: int | None
    ) -> TokenScores:
        """Log-probabilities and entropies for TRL; within TRL's loss, `compute_loss` has already computed them."""
        if self._scores is not None:
            return self._scores
        if model is not self.reference or self.reference is None:
            return self.scorer(model, self._scored_groups, ids, mask, at_once)
        unwrapped = self.accelerator.unwrap_model(self.model)
        with self.reference.applied(unwrapped, self.model_wrapped):
            return self.scorer(self.model, self._scored_groups, ids, mask, at_once)

    def compute_loss(
        self,
        model: Any,
        inputs: Pass,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Compute TRL's loss of a pass from scores with gradients."""
        groups = self.groups.of_pass(inputs)
        scores = self.scorer(model, groups, inputs["completion_ids"], inputs["completion_mask"])
        inputs = self.estimator.loss_inputs(self, inputs, groups, scores)
        self._scores = scores
        try:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            self._scores = None
        clip = (self.epsilon_low, self.epsilon_high)
        self.by_dimension.add_pass(groups, inputs, scores, clip=clip)
        return loss

    def begin_pass(self, batch: Any) -> None:
        """Count the tokens of every forward pass, also of the reference."""
        super().begin_pass(batch)
        self.statistics.count(tokens=batch.tokens)

    def step_figures(self, counts: Counter[str]) -> dict[str, float]:
        """The figures by dimension, over all processes since the last logged step."""
        merged = DimensionMetrics.merged(self.processes.gather(self.by_dimension))
        self.by_dimension = DimensionMetrics()
        return {f"dimensions/{name}": value for name, value in merged.summary().items()}

    # Checkpoints

    def before_resuming(self, checkpoint: Path) -> None:
        """Also read the remaining passes over a generation."""
        super().before_resuming(checkpoint)
        self.generation.load(checkpoint, self.processes, self.accelerator.device)

    @contextmanager
    def checkpoint_files(self, folder: Path) -> Iterator[None]:
        """Also write the remaining passes over a generation."""
        with super().checkpoint_files(folder):
            if not self.args.save_only_model:
                self.generation.save(folder, self.processes)
            yield


def _reward_func(name: str) -> Any:
    """Make an entry of TRL's ``reward_funcs``, which returns the values that the rollout has already computed."""

    def reward(**fields: Any) -> list[float]:
        return [values[name] for values in fields[REWARDS]]

    reward.__name__ = name
    return reward
