"""Supervised fine-tuning: TRL's SFTTrainer with a judge's batches, objectives and validation.

TRL provides the training loop, the optimizer, the distributed back ends, checkpoints and loggers. `JudgeSFTTrainer`
replaces the batches (clips with questions about them) and the loss (objectives at answer positions).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import trl

from dramaeval.config.batch_size import StepSize
from dramaeval.data.augmentation import Augmentation
from dramaeval.data.records import Record
from dramaeval.models.forward.answer_distributions import chosen
from dramaeval.models.inputs.collation import Batch
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.failure_diagnosis import require_finite
from dramaeval.training.judge_trainer import JudgeTrainer
from dramaeval.training.objectives import (
    Objective,
    WeightedObjective,
    preferences_met,
    targets_of,
)
from dramaeval.training.question_sampler import (
    QuestionSampler,
    Sampler,
    TrainingCollator,
    batch_in,
)
from dramaeval.training.sft.token_budget import (
    TokenBudgetBatches,
    TokenBudgetSampler,
    longest_questions,
    size_of,
)
from dramaeval.training.step_batches import EpochOrder, StepBatchSampler

log = logging.getLogger(__name__)


class JudgeSFTTrainer(JudgeTrainer, trl.SFTTrainer):
    """TRL's SFTTrainer for judges; `JudgeTrainer` describes the other arguments.

    Args:
        args: `trl.SFTConfig`; sizes of batches are numbers of clips.
        objective: see `dramaeval.training.objectives.WeightedObjective`.
        objectives: the functions that ``objective`` names.
        sampler: gives the questions of a record in an epoch; None samples the questions of the task.
        augment: see `QuestionSampler`.
    """

    rates = ("tokens", "clips", "questions")

    def __init__(
        self,
        *,
        model: Any,
        args: trl.SFTConfig,
        record_encoder: RecordEncoder,
        train_records: Sequence[Record],
        val_records: Sequence[Record] = (),
        objective: str,
        objectives: Mapping[str, Objective],
        batch: Mapping[str, Any],
        callbacks: Sequence[Any] = (),
        learning_rates: dict[str, float | None] | None = None,
        sampler: Sampler | None = None,
        augment: str = "none",
    ) -> None:
        self.objective = WeightedObjective(objective, objectives)
        self.budget_batches: TokenBudgetBatches | None = None
        if batch.get("max_tokens"):
            self.budget_batches = _budget_batches(
                train_records, record_encoder, batch, args.seed, augment
            )
        order = EpochOrder.of_records(train_records, record_encoder.task, args.seed)
        sampler = sampler or QuestionSampler(
            train_records,
            record_encoder,
            args.seed,
            questions_per_clip=batch["questions_per_clip"],
            augment=augment,
        )
        super().__init__(
            model=model,
            args=args,
            record_encoder=record_encoder,
            order=order,
            train_records=train_records,
            val_records=val_records,
            batch=batch,
            learning_rates=learning_rates,
            processing_class=record_encoder.processor,
            data_collator=TrainingCollator(
                sampler, pad=record_encoder.pad, shared_prefix=batch["shared_prefix"]
            ),
            callbacks=list(callbacks),
        )
        # `compute_loss` divides by the questions of the optimizer step. With this setting, transformers does not divide
        # by the number of accumulated batches too.
        self.model_accepts_loss_kwargs = True

    def batch_sampler(self) -> torch.utils.data.Sampler[list[int]]:
        """The sampler of this process's batches; a step has the same clips for any number of processes."""
        args = self.args
        rank, processes = args.process_index, args.world_size
        if self.budget_batches is not None:
            return TokenBudgetSampler(self.budget_batches, self.order, rank, processes)
        step = StepSize(
            args.per_device_train_batch_size, args.gradient_accumulation_steps, processes
        )
        return StepBatchSampler(self.order, step, rank)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of an optimizer step, and the number of questions in them over all processes."""
        inputs, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not inputs:
            return inputs, None
        batches = list(map(batch_in, inputs))
        count = torch.tensor(
            sum(batch.questions for batch in batches if not batch.is_stand_in), device=device
        )
        if self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return inputs, count

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Batch],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The mean of the objective over the questions of the optimizer step."""
        batch = inputs["batch"]
        self.begin_pass(batch)
        outputs = model(**batch.inputs)
        terms = self.objective(outputs.logits, batch)
        losses = torch.stack(list(terms.values())).sum(dim=0)
        require_finite(losses, self, batch)
        count = batch.questions if num_items_in_batch is None else num_items_in_batch
        # The count is over all processes, and gradients are averaged over processes.
        loss = losses.sum() / count * self.args.world_size
        if outputs.loss is not None and outputs.loss.requires_grad:
            # The loss of an adapter (AdaLoRA's orthogonality) has weight 1 in an optimizer step.
            if not batch.is_stand_in:
                self.statistics.add("loss_adapter", float(outputs.loss.detach()))
            loss = loss + outputs.loss * batch.questions / count * self.args.world_size
        if batch.is_stand_in:
            loss = loss * 0
        else:
            self._count_answers(batch, outputs.logits.detach(), terms)
        return (loss, outputs) if return_outputs else loss

    def _count_answers(
        self, batch: Batch, logits: torch.Tensor, terms: Mapping[str, torch.Tensor]
    ) -> None:
        """Count tokens, questions and correct answers for the logged figures."""
        statistics = self.statistics
        statistics.count(
            tokens=batch.tokens,
            clips=batch.clips,
            questions=batch.questions,
            positions=batch.inputs["input_ids"].numel(),
        )
        if len(terms) > 1:
            for name, term in terms.items():
                statistics.add(f"loss_{name}", float(term.detach().mean()))
        wanted = targets_of(batch).argmax(dim=-1)
        scores = batch.scale.gather(1, wanted[:, None])[:, 0][batch.rated]
        correct = (chosen(logits, batch) == wanted)[batch.rated]
        for score, hit in zip(scores.tolist(), correct.tolist(), strict=True):
            key = f"score_{score:g}"
            statistics.count(**{f"{key}/count": 1, f"{key}/correct": int(hit)})
        if batch.pairs is not None:
            statistics.count(**preferences_met(logits, batch))

    def step_figures(self, counts: Counter[str]) -> dict[str, float]:
        """The share of padding, and for each score the number of questions with it and the accuracy on them."""
        if not counts["positions"]:
            return {}
        figures: dict[str, float] = {
            "padding_share": round(1 - counts["tokens"] / counts["positions"], 4)
        }
        for name in [name for name in counts if name.endswith("/count")]:
            key = name.removesuffix("/count")
            figures[name] = counts[name]
            figures[f"{key}/accuracy"] = counts[f"{key}/correct"] / counts[name]
        return figures


def _budget_batches(
    records: Sequence[Record],
    record_encoder: RecordEncoder,
    batch: Mapping[str, Any],
    seed: int,
    augment: str,
) -> TokenBudgetBatches:
    """Make batches of similar length within ``batch.max_tokens``; every process makes the same batches."""

    @cache
    def length(text: str) -> int:
        return len(record_encoder.encoder.tokenise(text))

    sizes = [
        size_of(
            record,
            record_encoder,
            *longest_questions(
                record_encoder.task, record, np.random.default_rng([seed, number]), length
            ),
            questions_per_clip=batch["questions_per_clip"],
            shared_prefix=batch["shared_prefix"],
            stretch=1.0 if augment == "none" else Augmentation(augment).stretch,
        )
        for number, record in enumerate(records)
    ]
    batches = TokenBudgetBatches(sizes, batch["max_tokens"], seed)
    log.info(
        "%d batches an epoch, of %.1f clips each, within %d tokens.",
        len(batches),
        len(records) / len(batches),
        batch["max_tokens"],
    )
    return batches
