"""GRPO from Python, with the signature of the published module's trainers."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import trl
from transformers import PreTrainedModel

from dramaeval.api.dataset import AudioDataset
from dramaeval.api.judge import Judge
from dramaeval.api.sft_trainer import (
    DatasetSampler,
    checked,
    curves,
    precision_of,
    ready,
)
from dramaeval.training.grpo.settings import SAMPLED
from dramaeval.training.grpo.trainer import JudgeGRPOTrainer
from dramaeval.training.rewards.exact import Exact
from dramaeval.training.rewards.format import Format


class GRPOTrainer(JudgeGRPOTrainer):
    """Trains a judge on an `AudioDataset` by rewards, one question a record and epoch.

    It is `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`, which is TRL's: ``train()``, ``save_model(folder)`` and the rest
    are theirs.

    Args:
        model: as in `dramaeval.SFTTrainer`. A judge that does not know the form of an answer yet learns little.
        args: ``trl.GRPOConfig``, whose ``per_device_train_batch_size`` counts completions and has to be a
            multiple of ``num_generations``; None means TRL's defaults in ``grpo_output/``, completions short.
        train_dataset: what is asked about.
        peft_config: as in `dramaeval.SFTTrainer`.
        enable_tensorboard: write curves to ``tensorboard/`` in ``args.output_dir``.
        rewards: by name a function or object that gives each `Completion` of a list a number, or a mapping as
            in ``configs/trainer/grpo.yaml``; None takes the published reward for the right answer, and one for
            its form.
        estimator: ``sampled`` or ``enumerated``.

    Raises:
        ModelError: the model cannot be had.
        ValueError: there is no dataset, its sample rate is not the model's, or a group does not fit into a
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
        dataset = checked(train_dataset)
        args = prepared(args)
        trained, record_encoder, shared = ready(model, args, dataset, peft_config)
        super().__init__(
            model=trained,
            args=args,
            record_encoder=record_encoder,
            train_records=dataset.records,
            estimator=estimator,
            rewards=rewards or {"exact": Exact(), "format": Format()},
            batch={"questions_per_clip": 1, "shared_prefix": shared, "eval_clips": 8},
            callbacks=curves(args) if enable_tensorboard else (),
            sampler=DatasetSampler(dataset, record_encoder),
        )


def prepared(args: trl.GRPOConfig | None) -> trl.GRPOConfig:
    """A copy of the arguments with what the project does itself switched off."""
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
            f"multiple of num_generations={args.num_generations}: the answers to a question are computed "
            "together."
        )
    args.report_to = []
    args.mixed_precision = precision_of(args)
    # The policy would differ from itself from pass to pass.
    args.disable_dropout = True
    return args
