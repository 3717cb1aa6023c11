"""`GRPOTrainer`: GRPO on an `AudioDataset`."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import trl
from transformers import PreTrainedModel

from dramaeval.api.dataset import AudioDataset
from dramaeval.api.judge import Judge
from dramaeval.api.sft_trainer import (
    build_judge,
    precision_of,
    require_dataset,
    tensorboard_callbacks,
)
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.task import Target
from dramaeval.training.grpo.groups import PromptGroup, PromptGroups
from dramaeval.training.grpo.trainer import SAMPLED, JudgeGRPOTrainer
from dramaeval.training.rewards.exact import Exact
from dramaeval.training.rewards.format import Format


class GRPOTrainer(JudgeGRPOTrainer):
    """Trains a judge on an `AudioDataset` by rewards, one question a record and epoch.

    It extends TRL's trainer, which gives ``train()``, ``save_model(folder)`` and the other methods.

    Args:
        model: as in `dramaeval.SFTTrainer`. Train it with `dramaeval.SFTTrainer` first: a judge whose
            completions do not have the form of an answer learns little from rewards.
        args: ``trl.GRPOConfig``, whose ``per_device_train_batch_size`` counts completions and is a multiple of
            ``num_generations``; None means TRL's defaults in ``grpo_output/``, with short completions.
        train_dataset: the training data.
        peft_config: as in `dramaeval.SFTTrainer`.
        enable_tensorboard: write curves to ``tensorboard/`` in ``args.output_dir``.
        rewards: by name a callable that returns a number for each `Completion` of a list, or a mapping as in
            ``configs/trainer/grpo.yaml``; None means the published reward for the right answer, and one for
            its form.
        estimator: ``sampled`` or ``enumerated``.

    Raises:
        ModelError: the model cannot be loaded or trained.
        ValueError: there is no dataset, its sample rate differs from the model's, or a group does not fit into a
            batch.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Judge | PreTrainedModel,
        args: trl.GRPOConfig | None = None,
        train_dataset: AudioDataset | None = None,
        peft_config: Any | None = None,
        enable_tensorboard: bool = True,
        *,
        rewards: Mapping[str, Any] | None = None,
        estimator: str = SAMPLED,
    ) -> None:
        dataset = require_dataset(train_dataset)
        args = prepare_arguments(args)
        judge, record_encoder, shared = build_judge(model, args, dataset, peft_config)
        super().__init__(
            model=judge,
            args=args,
            record_encoder=record_encoder,
            train_records=dataset.records,
            estimator=estimator,
            rewards=rewards or {"exact": Exact(), "format": Format()},
            batch={"questions_per_clip": 1, "shared_prefix": shared, "eval_clips": 8},
            callbacks=tensorboard_callbacks(args) if enable_tensorboard else (),
        )
        self.groups = DatasetGroups(dataset, record_encoder, args.seed)


class DatasetGroups(PromptGroups):
    """Prompt groups of the questions that an `AudioDataset` samples, with its perturbed clips.

    Args:
        dataset: samples the questions and perturbs the clips.
        record_encoder: encodes them.
        seed: of the completions.
    """

    def __init__(self, dataset: AudioDataset, record_encoder: RecordEncoder, seed: int) -> None:
        super().__init__(dataset.records, record_encoder, seed)
        self.dataset = dataset
        self._features = lru_cache(maxsize=2048)(self._logmel)

    def _make(self, row: int, epoch: int) -> PromptGroup:
        dimension, target = self.dataset.draw(row, epoch)
        question = self.dataset.question(row, epoch)
        clip = self._features(row, epoch if self.dataset.is_perturb else 0)
        targets = {dimension.key: Target(target)}
        record = self.dataset.records[row]
        encoded_record = self.record_encoder.encode_with_clip(record, clip, [question], targets)
        return self.made(row, epoch, question, targets, encoded_record)

    def _logmel(self, row: int, epoch: int) -> Any:
        return self.record_encoder.logmel(self.dataset.waveform(row, epoch))


def prepare_arguments(args: trl.GRPOConfig | None) -> trl.GRPOConfig:
    """A copy of the arguments without TRL's own reporting and dropout; None means the defaults."""
    if args is None:
        import torch

        gpu = torch.cuda.is_available()
        args = trl.GRPOConfig(
            output_dir="grpo_output", use_cpu=not gpu, bf16=gpu, max_completion_length=32
        )
    args = copy.copy(args)
    if args.per_device_train_batch_size % args.num_generations:
        raise ValueError(
            f"per_device_train_batch_size={args.per_device_train_batch_size} counts completions and is no "
            f"multiple of num_generations={args.num_generations}: the completions of a question are computed "
            "together."
        )
    args.report_to = []
    args.mixed_precision = precision_of(args)
    # With dropout the policy would differ from pass to pass.
    args.disable_dropout = True
    return args
