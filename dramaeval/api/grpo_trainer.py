"""GRPO training from Python, with the signature of the published module's trainers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import trl
from transformers import PreTrainedModel

from dramaeval.api.dataset import AudioDataset
from dramaeval.api.judge import Judge
from dramaeval.api.saved_judge import SavesJudgeFile
from dramaeval.api.sft_trainer import copied_arguments, trainer_arguments
from dramaeval.training.grpo.settings import SAMPLED
from dramaeval.training.grpo.trainer import JudgeGRPOTrainer
from dramaeval.training.rewards.exact import Exact
from dramaeval.training.rewards.format import Format


class GRPOTrainer(SavesJudgeFile, JudgeGRPOTrainer):
    """Trains a judge on an `AudioDataset` with rewards, one question per record and epoch.

    It extends `dramaeval.training.grpo.trainer.JudgeGRPOTrainer` and thereby TRL's trainer, from which it has
    ``train()``, ``save_model(folder)`` and the other methods.

    Args:
        model: as in `dramaeval.SFTTrainer`. Start from a supervised judge: an untrained model seldom
            writes an answer in the required form.
        args: ``trl.GRPOConfig``, whose ``per_device_train_batch_size`` counts completions and has to be a
            multiple of ``num_generations``; None means TRL's defaults in ``grpo_output/``
            with completions of at most 32 tokens.
        train_dataset: the dataset, whose questions are sampled again in each epoch.
        peft_config: as in `dramaeval.SFTTrainer`.
        enable_tensorboard: write curves to ``tensorboard/`` in ``args.output_dir``.
        rewards: rewards by name: functions that return a number for each `Completion` in a list, or mappings as in
            ``configs/trainer/grpo.yaml``; None uses the published rewards for the correct answer and for its form.
        estimator: ``sampled`` or ``enumerated``.

    Raises:
        ModelError: the model cannot be loaded or cannot be trained as a judge.
        ValueError: the dataset is missing or has another sample rate than the model, or a group does not fit into a
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
        super().__init__(
            estimator=estimator,
            rewards=rewards or {"exact": Exact(), "format": Format()},
            **trainer_arguments(
                model, prepare_arguments(args), train_dataset, peft_config, enable_tensorboard
            ),
        )


def prepare_arguments(args: trl.GRPOConfig | None) -> trl.GRPOConfig:
    """A copy of the arguments that turns TRL's loggers and dropout off.

    Raises:
        ValueError: the batch is not a multiple of ``num_generations``, or an argument has no effect on a judge.
    """
    args = copied_arguments(
        args, trl.GRPOConfig, output_dir="grpo_output", max_completion_length=32
    )
    if args.per_device_train_batch_size % args.num_generations:
        raise ValueError(
            f"per_device_train_batch_size={args.per_device_train_batch_size} counts completions and is no "
            f"multiple of num_generations={args.num_generations}: the answers to a question are computed "
            "together."
        )
    # Dropout would change the policy between forward passes.
    args.disable_dropout = True
    return args
