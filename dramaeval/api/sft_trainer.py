"""`SFTTrainer`: supervised fine-tuning on an `AudioDataset`."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import trl
from transformers import PreTrainedModel

from dramaeval.api.dataset import MAX_SECONDS, AudioDataset
from dramaeval.api.judge import Judge
from dramaeval.config.composition import compose
from dramaeval.config.literal import instantiate, literal
from dramaeval.models.adapters import attach, restrict
from dramaeval.models.families.base import Family, ModelError
from dramaeval.models.forward import shared_prefix as branches
from dramaeval.models.forward.last_layer import prepare
from dramaeval.models.inputs.collation import Batch, EncodedRecord, collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.objectives import Objective, answer_ce, soft_ce
from dramaeval.training.question_sampler import EpochOrder
from dramaeval.training.sft.trainer import JudgeSFTTrainer
from dramaeval.training.step_batches import row_of

OBJECTIVES: dict[str, Objective] = {"answer_ce": answer_ce, "soft_ce": soft_ce}


class SFTTrainer(JudgeSFTTrainer):
    """Trains a judge on an `AudioDataset`, one question a record and epoch.

    It extends TRL's trainer, which gives ``train()``, ``save_model(folder)`` and the other methods.
    `dramaeval.Judge.load` reads the folder that ``save_model`` writes.

    Args:
        model: a folder, a name in ``configs/model/``, a name on the hub, a `Judge`, or a loaded Qwen2-Audio
            model, which is trained in place and not copied.
        args: ``trl.SFTConfig``; None means TRL's defaults in ``sft_output/``. Batch sizes count records.
        train_dataset: the training data.
        peft_config: PEFT's configuration of an adapter (see `dramaeval.create_peft_config`); None trains every
            weight. ``target_modules`` matches layers in every part of the model, the audio tower included;
            without it the projections of the language model get adapters.
        enable_tensorboard: write curves to ``tensorboard/`` in ``args.output_dir``.
        objective: the loss; see `dramaeval.training.objectives.WeightedObjective`.

    Raises:
        ModelError: the model cannot be loaded or trained.
        ValueError: there is no dataset, or its sample rate differs from the model's.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Judge | PreTrainedModel,
        args: trl.SFTConfig | None = None,
        train_dataset: AudioDataset | None = None,
        peft_config: Any | None = None,
        enable_tensorboard: bool = True,
        *,
        objective: str = "answer_ce",
    ) -> None:
        dataset = require_dataset(train_dataset)
        args = prepare_arguments(args)
        judge, record_encoder, shared = build_judge(model, args, dataset, peft_config)
        super().__init__(
            model=judge,
            args=args,
            record_encoder=record_encoder,
            train_records=dataset.records,
            objective=objective,
            objectives=OBJECTIVES,
            batch={"questions_per_clip": 1, "shared_prefix": shared, "eval_clips": 8},
            callbacks=tensorboard_callbacks(args) if enable_tensorboard else (),
        )
        self.data_collator = DatasetCollator(
            dataset, record_encoder, self.order, shared_prefix=shared
        )


class DatasetCollator:
    """The collate function of the loader: batches of the questions that an `AudioDataset` samples.

    Args:
        dataset: samples the questions and perturbs the clips.
        record_encoder: encodes them.
        order: has the number of the epoch.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
    """

    def __init__(
        self,
        dataset: AudioDataset,
        record_encoder: RecordEncoder,
        order: EpochOrder,
        *,
        shared_prefix: bool,
    ) -> None:
        self.dataset = dataset
        self.record_encoder = record_encoder
        self.order = order
        self.shared_prefix = shared_prefix
        self._cached_features = lru_cache(maxsize=2048)(self._features)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Batch]:
        """A batch from rows of the form ``{"record": index}``."""
        epoch = int(self.order.epoch)
        numbers = [int(row["record"]) for row in rows]
        encoded = [self._encode(row_of(number), epoch) for number in numbers]
        batch = collate(encoded, pad=self.record_encoder.pad, shared_prefix=self.shared_prefix)
        return {"batch": replace(batch, is_stand_in=min(numbers) < 0)}

    def _encode(self, at: int, epoch: int) -> EncodedRecord:
        dimension, target = self.dataset.draw(at, epoch)
        # Perturbed clips differ from epoch to epoch: a cache of them would not be read.
        features = self._features if self.dataset.is_perturb else self._cached_features
        clip = features(at, epoch if self.dataset.is_perturb else 0)
        question = self.dataset.question(at, epoch)
        return self.record_encoder.encode_with_clip(
            self.dataset.records[at], clip, [question], {dimension.key: target}
        )

    def _features(self, at: int, epoch: int) -> Any:
        return self.record_encoder.logmel(self.dataset.waveform(at, epoch))


def prepare_arguments(args: trl.SFTConfig | None) -> trl.SFTConfig:
    """A copy of the arguments without TRL's preparation of texts and its reporting; None means the defaults."""
    if args is None:
        import torch

        gpu = torch.cuda.is_available()
        args = trl.SFTConfig(output_dir="sft_output", use_cpu=not gpu, bf16=gpu)
    args = copy.copy(args)
    args.dataset_kwargs = {"skip_prepare_dataset": True}
    args.max_length = None
    args.remove_unused_columns = False
    args.report_to = []
    args.mixed_precision = precision_of(args)
    return args


def precision_of(args: Any) -> str:
    """The precision of the arguments; without it transformers would use that of the environment."""
    return "fp16" if args.fp16 else "bf16" if args.bf16 else "no"


def build_judge(
    model: Any, args: Any, dataset: AudioDataset, peft_config: Any | None
) -> tuple[Any, RecordEncoder, bool]:
    """The model, the record encoder and the layout of batches for a trainer.

    Args:
        model: as in `SFTTrainer`.
        args: of the trainer.
        dataset: the training data.
        peft_config: of an adapter; None without an adapter.

    Returns:
        the model, with the adapter attached; its record encoder; whether questions share a prefix.

    Raises:
        ModelError, ValueError: as `SFTTrainer`.
    """
    judge = _load(model, args)
    record_encoder = RecordEncoder(
        dataset.task, judge.processor, judge.family, max_seconds=MAX_SECONDS, cache_clips=1
    )
    if not judge.family.takes_audio:
        raise ModelError(
            f"{judge.family.path} takes no audio: train it with python launch.py model=causal_lm."
        )
    if dataset.sample_rate != record_encoder.logmel.sampling_rate:
        raise ValueError(
            f"AudioDataset(sample_rate={dataset.sample_rate}), but this model takes "
            f"{record_encoder.logmel.sampling_rate} Hz: give sample_rate={record_encoder.logmel.sampling_rate}."
        )
    judge.family.freeze_fixed(judge.model)
    trainable = judge.model
    if peft_config is not None:
        if not getattr(peft_config, "target_modules", "none"):
            peft_config = restrict(copy.deepcopy(peft_config), judge.family, "llm")
        trainable = attach(trainable, peft_config)
    return trainable, record_encoder, judge.shared_prefix


def require_dataset(dataset: Any) -> AudioDataset:
    """The dataset of a trainer.

    Raises:
        ValueError: it is not an `AudioDataset`.
    """
    if not isinstance(dataset, AudioDataset):
        raise ValueError(
            f"train_dataset must be a dramaeval.AudioDataset, not {type(dataset).__name__}: give "
            'AudioDataset("train.jsonl").'
        )
    return dataset


def _load(model: Any, args: Any) -> Judge:
    if isinstance(model, Judge):
        return model
    if isinstance(model, str | os.PathLike):
        return Judge.load(model, device=args.device.type)
    return _around_loaded(model)


def _around_loaded(model: Any) -> Judge:
    """A judge around a loaded model, which becomes a judge in place."""
    from dramaeval.models.families.qwen2_audio import (
        Qwen2AudioForConditionalGeneration as JudgeClass,
    )

    source = str(getattr(model, "name_or_path", "") or "")
    if not source or type(model) not in JudgeClass.__mro__:
        raise ModelError(
            f"A {type(model).__name__} cannot be trained as a judge: give a folder or a name on the hub, "
            f"or a {JudgeClass.__name__} from from_pretrained."
        )
    if any(hasattr(part, "_hf_hook") for part in model.modules()):
        raise ModelError(
            "A model that accelerate has spread over devices cannot be trained in place: give the folder of its "
            "weights instead."
        )
    attention = getattr(model.config, "_attn_implementation", None) or "sdpa"
    config = compose("model=qwen2_audio")
    config.model.path = literal(source)
    config.model.attention = "sdpa" if attention == branches.NAME else attention
    family: Family = instantiate(config.model)
    # The class of the judge adds only a forward pass to that of transformers; the weights do not move.
    model.__class__ = JudgeClass
    prepare(family.decoder_of(model))
    if family.attention == "sdpa":
        branches.register()
        family.decoder_of(model).set_attn_implementation(branches.NAME)
    return Judge(model, family, family.processor(), config)


def tensorboard_callbacks(args: Any) -> list[Any]:
    """A callback that writes curves to ``tensorboard/`` in the output folder of the trainer."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    folder = Path(args.output_dir) / "tensorboard"
    return [TensorBoardCallback(SummaryWriter(log_dir=str(folder)))]
