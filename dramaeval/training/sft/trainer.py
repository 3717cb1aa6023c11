"""Supervised fine-tuning: TRL's SFTTrainer with the judge's batches, objectives and validation.

TRL supplies the loop, the optimizer, the distributed back ends, checkpoints and loggers. What is replaced is
what TRL has no notion of: a batch of clips with branching questions, a loss on answer positions alone, and
validation by agreement with raters.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import datasets
import torch
import trl
from accelerate.data_loader import prepare_data_loader
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from dramaeval.config.batch_size import StepSize
from dramaeval.data.records import Record
from dramaeval.models.forward.answer_distributions import chosen
from dramaeval.models.inputs.collation import Batch
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.callbacks import adalora as ranks
from dramaeval.training.failure_diagnosis import require_finite
from dramaeval.training.judge_training import JudgeTrainingMixin, adapter_weights
from dramaeval.training.objectives import Objective, WeightedObjective, targets_of
from dramaeval.training.question_sampler import EpochOrder, TrainingCollator, sample_questions
from dramaeval.training.sft.token_budget import TokenBudgetBatches, TokenBudgetSampler, size_of
from dramaeval.training.step_batches import StepBatchSampler

log = logging.getLogger(__name__)


class JudgeSFTTrainer(JudgeTrainingMixin, trl.SFTTrainer):
    """TRL's trainer for judges.

    Args:
        model: the judge, or PEFT's wrapper around it.
        args: `trl.SFTConfig`; every argument of it keeps its meaning. A batch is counted in clips.
        record_encoder: prepares records for the model.
        train_records: what is learnt from; each has at least one rating.
        val_records: what is validated on, or none.
        objective: see `dramaeval.training.objectives.WeightedObjective`.
        objectives: what the names in ``objective`` mean.
        batch: the settings of ``batch.*`` in the configuration.
        callbacks: further transformers callbacks.
    """

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
    ) -> None:
        self.record_encoder = record_encoder
        self.val_records = val_records
        self.batch_settings = batch
        self.objective = WeightedObjective(objective, objectives)
        self.order = EpochOrder(
            len(train_records), args.seed, record_encoder.task.mixture(train_records)
        )
        self.current: Batch | None = None  # what is worked on, for messages
        self._seen: Counter[str] = Counter()
        self._since = time.monotonic()
        # Counted here: ZeRO-3 leaves no process a whole weight.
        self._packs = self._packed(train_records, args.seed) if batch.get("max_tokens") else None
        self._weights = sum(weight.numel() for weight in model.parameters())
        # The records themselves stay in memory; the loader only passes their numbers around.
        rows = datasets.Dataset.from_dict({"record": list(range(len(train_records)))})
        precise = adapter_weights(model)
        super().__init__(
            model=model,
            args=args,
            train_dataset=rows,
            # Only tells the trainer that there is validation; `evaluate` below does it.
            eval_dataset=datasets.Dataset.from_dict({"record": list(range(len(val_records)))})
            if val_records
            else None,
            processing_class=record_encoder.processor,
            data_collator=TrainingCollator(
                train_records,
                record_encoder,
                self.order,
                questions_per_clip=batch["questions_per_clip"],
                shared_prefix=batch["shared_prefix"],
            ),
            callbacks=list(callbacks),
        )
        # TRL rounds the adapters of quantised models to bfloat16, which swallows small updates.
        for weight, value in precise:
            weight.data = value
        if ranks.moves_ranks(model):
            self.add_callback(ranks.RankSchedule())
        # The loss is divided by the questions of the whole step (see compute_loss), not once more by the
        # number of accumulated batches.
        self.model_accepts_loss_kwargs = True
        # Progress is reported by the run, with the time left.
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> Any:
        """Batches of this process, dealt out by us: every step has the same clips for any number."""
        step = StepSize(
            self.args.per_device_train_batch_size,
            self.args.gradient_accumulation_steps,
            self.args.world_size,
        )
        rank, processes = self.args.process_index, self.args.world_size
        dealt = (
            StepBatchSampler(self.order, step, rank)
            if self._packs is None
            else TokenBudgetSampler(self._packs, self.order, rank, processes)
        )
        loader = torch.utils.data.DataLoader(
            Numbers(self.order.count),
            batch_sampler=dealt,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        # Accelerate only moves the batches; left to itself it would deal them out a second time.
        return prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )

    def _packed(self, records: Sequence[Record], seed: int) -> TokenBudgetBatches:
        """Batches of like length within ``batch.max_tokens``; every process works out the same."""
        task, settings = self.record_encoder.task, self.batch_settings
        sizes = [
            size_of(
                record,
                self.record_encoder,
                partial(sample_questions, task, key=(seed, 0, at)),
                questions_per_clip=settings["questions_per_clip"],
                shared_prefix=settings["shared_prefix"],
            )
            for at, record in enumerate(records)
        ]
        packs = TokenBudgetBatches(sizes, settings["max_tokens"], seed)
        log.info(
            "%d batches an epoch, of %.1f clips each, within %d tokens.",
            len(packs),
            len(records) / len(packs),
            settings["max_tokens"],
        )
        return packs

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Questions in an optimizer step, over all processes: what the loss is averaged over."""
        counted = [one["batch"].questions for one in batch_samples if not one["batch"].is_stand_in]
        count = torch.tensor(sum(counted), device=device)
        if self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Batch],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean of the objective over the questions of the optimizer step."""
        batch = self.current = inputs["batch"]
        outputs = model(**batch.inputs)
        terms = self.objective(outputs.logits, batch)
        losses = torch.stack(list(terms.values())).sum(dim=0)
        require_finite(losses, self, batch)
        count = batch.questions if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over processes, while the count is of all of them.
        loss = losses.sum() / count * self.args.world_size
        if outputs.loss is not None and outputs.loss.requires_grad:
            # What an adapter adds of its own (AdaLoRA's orthogonality), once an optimizer step in all.
            if not batch.is_stand_in:
                self._metrics["train"]["loss_adapter"].append(float(outputs.loss.detach()))
            loss = loss + outputs.loss * batch.questions / count * self.args.world_size
        loss = loss * int(not batch.is_stand_in)
        if not batch.is_stand_in:
            detached = {name: term.detach() for name, term in terms.items()}
            self._note(batch, outputs.logits.detach(), detached)
        return (loss, outputs) if return_outputs else loss

    def _note(self, batch: Batch, logits: torch.Tensor, terms: Mapping[str, torch.Tensor]) -> None:
        """Count what the logged figures are made of."""
        self._seen.update(tokens=batch.tokens, clips=batch.clips, questions=batch.questions)
        self._seen["padded"] += batch.inputs["input_ids"].numel()
        if len(terms) > 1:
            for name, term in terms.items():
                self._metrics["train"][f"loss_{name}"].append(float(term.mean()))
        hits = chosen(logits, batch) == targets_of(batch).argmax(dim=-1)
        wanted = targets_of(batch).argmax(dim=-1)
        scores = batch.scale.gather(1, wanted[:, None])[:, 0]
        for score_wanted, hit in zip(scores.tolist(), hits.tolist(), strict=True):
            self._seen[f"score_{score_wanted:g}/count"] += 1
            self._seen[f"score_{score_wanted:g}/right"] += int(hit)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add throughput and per-score accuracy to what TRL logs during training."""
        # Only during training do all processes log together.
        if "loss" in logs:
            self._seen = sum(self.processes.gather(self._seen), Counter())
        if "loss" in logs and self._seen:
            now = time.monotonic()
            elapsed = max(now - self._since, 1e-9)
            for name in ("tokens", "clips", "questions"):
                logs[f"{name}_per_second"] = round(self._seen[name] / elapsed, 3)
            logs["padding_share"] = round(1 - self._seen["tokens"] / self._seen["padded"], 4)
            for name in [name for name in self._seen if name.endswith("/count")]:
                right = self._seen[name.replace("/count", "/right")]
                logs[name] = self._seen[name]
                logs[name.replace("/count", "/accuracy")] = right / self._seen[name]
            self._seen.clear()
            self._since = now
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Forward and backward of a batch: 6 operations a weight and token (Kaplan et al. 2020)."""
        return 6 * self._weights * inputs["batch"].tokens


class Numbers(torch.utils.data.Dataset[dict[str, int]]):
    """Rows that are just their numbers, stand-ins' included."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"record": number}
