"""GRPO (Shao et al. 2024, arXiv 2402.03300): TRL's GRPOTrainer for judges that hear.

TRL supplies loss, clipping, KL, scaling of rewards, logging and the loop. What is replaced is what it has no
notion of: each completion sees the clip of its own question, a prompt and its clip are computed once for all
completions, rewards know what raters said, and the answers of a scale can be enumerated instead of sampled.

A batch is counted in clips, as everywhere in the project; each is asked one question, and each question has
``num_generations`` completions. TRL counts completions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from accelerate.data_loader import prepare_data_loader
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.callbacks import adalora as ranks
from dramaeval.training.grpo.dimension_metrics import DimensionMetrics
from dramaeval.training.grpo.drawing import Drawing
from dramaeval.training.grpo.enumerating import Enumerating
from dramaeval.training.grpo.groups import (
    GenerationBatchSampler,
    PromptGroup,
    PromptGroups,
    too_long,
)
from dramaeval.training.grpo.policy import Policy
from dramaeval.training.grpo.reference_policy import ReferencePolicy
from dramaeval.training.grpo.saved_generation import load_generation, save_generation
from dramaeval.training.grpo.step_audio_cache import StepAudioCache
from dramaeval.training.judge_training import JudgeTrainingMixin, adapter_weights
from dramaeval.training.question_sampler import EpochOrder
from dramaeval.training.rewards.completion import Completion, completion_of
from dramaeval.training.rewards.composition import WeightedRewards

log = logging.getLogger(__name__)

SAMPLED, ENUMERATED = "sampled", "enumerated"


class JudgeGRPOTrainer(Enumerating, Drawing, Policy, JudgeTrainingMixin, trl.GRPOTrainer):
    """TRL's GRPOTrainer for judges.

    Args:
        model: the judge, or PEFT's wrapper around it.
        args: ``trl.GRPOConfig``; ``per_device_train_batch_size`` is a multiple of ``num_generations``, so that
            the completions of a question stay together.
        record_encoder: prepares records for the model.
        train_records: what is asked about; each has at least one rating.
        val_records: what is validated on, or none.
        estimator: ``sampled`` draws completions; ``enumerated`` takes every answer of the scale with its exact
            probability (see `dramaeval.training.grpo.enumerated_answers`).
        rewards: see `dramaeval.training.rewards.composition.WeightedRewards`.
        batch: the settings of ``batch.*`` in the configuration.
        callbacks: further transformers callbacks.
    """

    eos_token_ids: list[int]
    _step: int  # passes that were made
    _buffered_inputs: Any  # the passes over what is generated; None where nothing is

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
    ) -> None:
        self.record_encoder = record_encoder
        self.val_records = val_records
        self.batch_settings = batch
        self.estimator = estimator
        self.rewards = WeightedRewards(rewards)
        self.order = EpochOrder(
            len(train_records), args.seed, record_encoder.task.mixture(train_records)
        )
        self.groups = PromptGroups(train_records, record_encoder, args.seed)
        self.reference = ReferencePolicy(model) if args.beta else None
        self.heard = StepAudioCache(self)
        self.by_dimension = DimensionMetrics()
        self.current = None
        self._since = time.monotonic()
        self._seen = {"tokens": 0, "questions": 0, "completions": 0}
        self._computed = 0
        self._weights = sum(weight.numel() for weight in model.parameters())
        self._places = ([], [])
        self._read_already = None
        precise = adapter_weights(model)
        beta, args.beta = args.beta, 0.0  # TRL would load a second model, or copy the adapter
        super().__init__(
            model=model,
            reward_funcs=[_named(name) for name in self.rewards.weights],
            args=args,
            train_dataset=datasets.Dataset.from_dict({"prompt": [""] * len(train_records)}),
            # Only tells the trainer that there is validation; `JudgeTrainingMixin.evaluate` does it.
            eval_dataset=datasets.Dataset.from_dict({"prompt": [""] * len(val_records)})
            if val_records
            else None,
            # With a processor TRL would look for images.
            processing_class=record_encoder.encoder.tokenizer,
            callbacks=list(callbacks),
        )
        self.processing_class = record_encoder.processor
        args.beta = self.beta = beta
        # Not a model: tells `_get_per_token_logps_and_entropies` whose turn it is.
        self.ref_model = self.reference
        self.reward_weights = torch.tensor(list(self.rewards.weights.values()))
        end = record_encoder.encoder.tokenise(record_encoder.encoder.end_of_turn)[-1]
        self.eos_token_ids = sorted({end, *self.eos_token_ids})
        self.aux_loss_enabled = False  # the pass of a judge has none
        for weight, value in precise:
            weight.data = value
        if ranks.moves_ranks(model):
            self.add_callback(ranks.RankSchedule())
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        log.info("Reward: %s; %s answers.", self.rewards.in_words(), self.estimator)

    # What a step sees

    @property
    def clips_a_pass(self) -> int:
        """Questions of a forward pass and process."""
        return int(self.args.per_device_train_batch_size // self.num_generations)

    def get_train_dataloader(self) -> Any:
        """Rows of this process; completions are made of them in `_prepare_inputs`."""
        steps = self.args.steps_per_generation
        loader = torch.utils.data.DataLoader(
            _Rows(self.order),
            batch_sampler=GenerationBatchSampler(
                self.order,
                self.clips_a_pass * steps,
                steps * self.num_iterations,
                self.args.process_index,
                self.args.world_size,
            ),
            collate_fn=list,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=False
        )

    def _prepare_inputs(self, generation_batch: list[dict[str, int]]) -> dict[str, Any]:
        """The next pass over what is generated; groups stay whole, unlike in TRL's shuffle."""
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            make = self._enumerate if self.estimator == ENUMERATED else self._sample
            self._buffered_inputs = make(generation_batch)
        return self._buffered_inputs[self._step % steps]

    def _groups_of(self, rows: Sequence[Mapping[str, int]]) -> list[PromptGroup]:
        groups = [self.groups(one["row"], one["epoch"]) for one in rows]
        most = self.model.config.get_text_config().max_position_embeddings
        for group in groups:
            long = len(group.prompt) + self.max_completion_length
            if long > most:
                written = self.max_completion_length
                raise BadRecordsError([too_long(group.record, len(group.prompt), written, most)])
        return groups

    # What both estimators need

    def _completion(
        self, number: int, groups: Sequence[PromptGroup], tokens: Sequence[int]
    ) -> Completion:
        """A completion as rewards see it."""
        finished = tokens[-1] in self.eos_token_ids
        encoder = self.record_encoder.encoder
        text = encoder.tokenizer.decode(list(tokens), skip_special_tokens=False)
        if finished:
            kept = text.removesuffix(encoder.end_of_turn)
            if kept == text:
                kept = encoder.tokenizer.decode(list(tokens)[:-1], skip_special_tokens=False)
            text = kept
        group = groups[number]
        return completion_of(
            self.record_encoder.task,
            group.record,
            group.question,
            group.targets,
            group=number,
            text=text,
            tokens=len(tokens),
            finished=finished,
        )

    def _values(self, completions: Sequence[Completion]) -> torch.Tensor:
        columns = list(self.rewards(completions).values())
        return torch.tensor(columns, dtype=torch.float32, device=self.accelerator.device).T

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._places = (inputs["row"].tolist(), inputs["epoch"].tolist())
        if self.estimator == ENUMERATED:
            inputs = self._weighed(model, inputs)
        loss = super()._compute_loss(model, inputs)
        self._note_tokens(inputs)
        return loss

    def _pass_groups(self, inputs: Mapping[str, Any]) -> list[PromptGroup]:
        """The groups of a pass, each once."""
        rows = zip(inputs["row"].tolist(), inputs["epoch"].tolist(), strict=True)
        return [self.groups(*one) for one in dict.fromkeys(rows)]

    # Around it

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """See `JudgeTrainingMixin.train`; a training goes on in the midst of a generation if it was stopped there."""
        resume = self.whole_checkpoint(resume_from_checkpoint)
        if resume:
            self._step, self._buffered_inputs = load_generation(
                Path(resume), self.processes, self.accelerator.device
            )
        return super().train(resume, *args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        left = self._step % (self.args.steps_per_generation * self.num_iterations)
        kept = self._buffered_inputs if left else None
        save_generation(Path(output_dir), self.processes, self._step, kept)
        super()._save_rng_state(output_dir)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add figures by dimension and throughput to what TRL logs during training."""
        if "loss" in logs:
            together = self.by_dimension.merged(self.processes.gather(self.by_dimension))
            self.by_dimension = DimensionMetrics()
            logs |= {f"dimensions/{name}": value for name, value in together.summary().items()}
            now = time.monotonic()
            elapsed = max(now - self._since, 1e-9)
            seen = self.processes.gather(self._seen)
            for name in self._seen:
                logs[f"{name}_per_second"] = round(sum(one[name] for one in seen) / elapsed, 3)
            self._seen = dict.fromkeys(self._seen, 0)
            self._since = now
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Forward and backward of what was read: 6 operations a weight and token (Kaplan et al. 2020)."""
        tokens, self._computed = self._computed, 0
        return 6 * self._weights * tokens


class _Rows(torch.utils.data.Dataset[dict[str, int]]):
    """The numbers of training records, with the epoch that they are drawn in."""

    def __init__(self, order: EpochOrder) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int) -> dict[str, int]:
        return {"row": number, "epoch": int(self.order.epoch)}


def _named(name: str) -> Any:
    """Stands for a reward in TRL's lists, which go by name; `JudgeGRPOTrainer._calculate_rewards` computes all."""

    def reward(*_: Any, **__: Any) -> list[float]:
        raise NotImplementedError

    reward.__name__ = name
    return reward
