"""Supervised fine-tuning from Python, with the signature of the published module's trainers."""

from __future__ import annotations

import copy
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import trl
from transformers import PreTrainedModel

from dramaeval.api.clip_input import positions_of
from dramaeval.api.dataset import MAX_SECONDS, AudioDataset
from dramaeval.api.item_dataset import ItemDataset
from dramaeval.api.judge import Judge
from dramaeval.api.saved_judge import SavesJudgeFile
from dramaeval.config.composition import compose
from dramaeval.config.literal import instantiate, literal
from dramaeval.data.problems import BadRecordsError
from dramaeval.models.adapter_settings import lora_problems
from dramaeval.models.adapters import attach, restrict
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.models.forward.shared_prefix import NAME
from dramaeval.models.inputs.question_length import first_too_long
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.objectives import Objective, answer_ce, soft_ce
from dramaeval.training.question_sampler import SampledQuestions
from dramaeval.training.sft.trainer import JudgeSFTTrainer
from dramaeval.training.trl_arguments import refuse_without_effect

OBJECTIVES: dict[str, Objective] = {"answer_ce": answer_ce, "soft_ce": soft_ce}


class SFTTrainer(SavesJudgeFile, JudgeSFTTrainer):
    """Trains a judge on an `AudioDataset`, one question per record and epoch.

    It extends `dramaeval.training.sft.trainer.JudgeSFTTrainer` and thereby TRL's and transformers' trainers, from which
    it has ``train()``, ``save_model(folder)`` and the other methods. `dramaeval.Judge.load` reads the saved folder.

    Args:
        model: a folder, a name in ``configs/model/``, a name on the hub, a `Judge`, or a loaded Qwen2-Audio model, which
            is trained itself and not copied.
        args: ``trl.SFTConfig``; None means TRL's defaults in ``sft_output/``. A batch is counted in records.
        train_dataset: an `AudioDataset`, whose questions are sampled again in each epoch, or any data set with a length
            and the items that `dramaeval.api.item_dataset.ItemDataset` describes.
        peft_config: PEFT's configuration of an adapter (see `dramaeval.create_peft_config`); None trains every
            weight. ``target_modules`` match the ends of layers' names, also in the audio tower; without them the
            projections of the language model get adapters.
        enable_tensorboard: write curves to ``tensorboard/`` in ``args.output_dir``.
        objective: ``answer_ce`` or ``soft_ce``, or a weighted sum; see `dramaeval.training.objectives.WeightedObjective`.

    Raises:
        ModelError: the model cannot be loaded or cannot be trained as a judge.
        ValueError: the dataset is missing or has another sample rate than the model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Judge | PreTrainedModel,
        args: trl.SFTConfig | None = None,
        train_dataset: AudioDataset | Any | None = None,
        peft_config: Any | None = None,
        enable_tensorboard: bool = True,
        *,
        objective: str = "answer_ce",
    ) -> None:
        self.objective_text = objective
        super().__init__(
            objective=objective,
            objectives=OBJECTIVES,
            **trainer_arguments(
                model, prepare_arguments(args), train_dataset, peft_config, enable_tensorboard
            ),
        )


class DatasetSampler:
    """Samples and encodes the questions of a data set, with its perturbed clips, for a trainer."""

    def __init__(self, dataset: AudioDataset | ItemDataset, record_encoder: RecordEncoder) -> None:
        self.dataset = dataset
        self.record_encoder = record_encoder
        self._cached = lru_cache(maxsize=2048)(self._features)

    def __call__(self, number: int, epoch: int) -> SampledQuestions:
        """The question of a record in an epoch."""
        dataset, record = self.dataset, self.dataset.record(number, epoch)
        _, targets = dataset.draw(number, epoch)
        question = dataset.question(number, epoch)
        # A perturbed clip differs in every epoch and is not cached.
        clip = self._features(number, epoch) if dataset.is_perturb else self._cached(number, 0)
        clips = {record.clip: clip}
        encoded = self.record_encoder.encode_with_clips(record, clips, [question], targets)
        return SampledQuestions(record, (question,), targets, encoded)

    def _features(self, number: int, epoch: int) -> Any:
        return self.record_encoder.features(self.dataset.waveform(number, epoch))


def prepare_arguments(args: trl.SFTConfig | None) -> trl.SFTConfig:
    """A copy of the arguments that turns TRL's preparation of texts off, since dramaeval builds the batches.

    Raises:
        ValueError: an argument has no effect on a judge.
    """
    args = copied_arguments(args, trl.SFTConfig, output_dir="sft_output")
    args.dataset_kwargs = {"skip_prepare_dataset": True}
    args.max_length = None
    args.remove_unused_columns = False
    return args


def copied_arguments(args: Any | None, config_class: type, **defaults: Any) -> Any:
    """A copy of the arguments without loggers; without arguments, an object of TRL's class with the defaults.

    Raises:
        ValueError: an argument has no effect on a judge.
    """
    if args is None:
        gpu = torch.cuda.is_available()
        args = config_class(use_cpu=not gpu, bf16=gpu, **defaults)
    refuse_without_effect(args)
    args = copy.copy(args)
    args.report_to = []
    # If it is not set, transformers reads an environment variable.
    args.mixed_precision = "fp16" if args.fp16 else "bf16" if args.bf16 else "no"
    return args


def trainer_arguments(
    model: Any, args: Any, dataset: Any, peft_config: Any | None, enable_tensorboard: bool
) -> dict[str, Any]:
    """Load the model, attach the adapter, and return the arguments of a judge's trainer; see `SFTTrainer`.

    Raises:
        ModelError: the model cannot be loaded, or takes no audio.
        ValueError: the dataset is missing or has another sample rate than the model, or the adapter could not be saved
            exactly.
        BadRecordsError: texts of the records contain control tokens of the model or tags of answers, or questions are
            longer than the model's positions.
    """
    if dataset is None:
        raise ValueError(
            'train_dataset is missing: AudioDataset("train.jsonl") creates one, and data sets of PyTorch or Hugging '
            "Face with prompt, solution and audio can be used."
        )
    judge = _judge(model, args)
    if not judge.family.takes_audio:
        raise ModelError(
            f"{judge.family.path} takes no audio: train it with launch.py model=causal_lm."
        )
    if not isinstance(dataset, AudioDataset):
        rate = judge.family.log_mel(judge.processor).sampling_rate
        dataset = ItemDataset(dataset, rate, MAX_SECONDS)
    record_encoder = RecordEncoder(
        dataset.task, judge.processor, judge.family, max_seconds=MAX_SECONDS, cache_clips=1
    )
    if problems := record_encoder.text_check.problems(dataset.task, dataset.records):
        raise BadRecordsError(problems)
    positions = positions_of(judge.family, judge.model)
    lengths = (first_too_long(record_encoder, record, positions) for record in dataset.records)
    if problems := list(filter(None, lengths)):
        raise BadRecordsError(problems)
    if dataset.sample_rate != record_encoder.logmel.sampling_rate:
        raise ValueError(
            f"AudioDataset(sample_rate={dataset.sample_rate}), but this model takes "
            f"{record_encoder.logmel.sampling_rate} Hz: give sample_rate={record_encoder.logmel.sampling_rate}."
        )
    judge.family.freeze_fixed(judge.model)
    trained = judge.model
    if peft_config is not None:
        if not getattr(peft_config, "target_modules", "none"):
            peft_config = restrict(copy.deepcopy(peft_config), judge.family, "llm")
        _check_adapter(peft_config, trained)
        trained = attach(trained, peft_config)
    return {
        "model": trained,
        "args": args,
        "record_encoder": record_encoder,
        "train_records": dataset.records,
        "batch": {"questions_per_clip": 1, "shared_prefix": judge.shared_prefix, "eval_clips": 8},
        "callbacks": [_tensorboard(args)] if enable_tensorboard else [],
        "sampler": DatasetSampler(dataset, record_encoder),
    }


def _check_adapter(peft_config: Any, model: Any) -> None:
    if peft_config.peft_type not in ("LORA", "ADALORA"):
        return
    quantised = getattr(model, "is_quantized", False)
    adalora = peft_config.peft_type == "ADALORA"
    if problems := lora_problems(vars(peft_config), quantised=quantised, adalora=adalora):
        raise ValueError(" ".join(problems))


def _judge(model: Any, args: Any) -> Judge:
    if isinstance(model, Judge):
        return model
    if isinstance(model, str | os.PathLike):
        return Judge.load(model, device=args.device.type)
    from dramaeval.models.families import qwen2_audio

    judge_class = qwen2_audio.Qwen2AudioForConditionalGeneration
    source = str(getattr(model, "name_or_path", "") or "")
    if not source or type(model) not in judge_class.__mro__:
        raise ModelError(
            f"A {type(model).__name__} cannot be trained as a judge: give a folder or a name on the hub, "
            f"or a {judge_class.__name__} loaded by from_pretrained."
        )
    if any(hasattr(part, "_hf_hook") for part in model.modules()):
        raise ModelError(
            "A model that accelerate has spread over devices cannot be used: give the folder of its "
            "weights instead."
        )
    attention = getattr(model.config, "_attn_implementation", None) or "sdpa"
    config = compose("model=qwen2_audio")
    config.model.path = literal(source)
    config.model.attention = "sdpa" if attention == NAME else attention
    family: Family = instantiate(config.model)
    # The judge's class has the same weights as transformers' class and only adds a forward pass.
    model.__class__ = judge_class
    family.configure(model)
    return Judge(model, family, family.processor(), config)


def _tensorboard(args: Any) -> Any:
    """The callback that writes TensorBoard curves to the output folder."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return TensorBoardCallback(SummaryWriter(log_dir=str(Path(args.output_dir, "tensorboard"))))
