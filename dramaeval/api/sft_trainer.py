"""Supervised fine-tuning from Python, with the published trainer's signature."""

from __future__ import annotations

import copy
import os
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
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.models.forward.shared_prefix import NAME
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.task import Target
from dramaeval.training.objectives import Objective, answer_ce, soft_ce
from dramaeval.training.question_sampler import SampledQuestions
from dramaeval.training.sft.trainer import JudgeSFTTrainer

OBJECTIVES: dict[str, Objective] = {"answer_ce": answer_ce, "soft_ce": soft_ce}


class SFTTrainer(JudgeSFTTrainer):
    """Trains a judge on an `AudioDataset`, one question a record and epoch.

    It is `dramaeval.training.sft.trainer.JudgeSFTTrainer`, which is TRL's, which is transformers': ``train()``,
    ``save_model(folder)`` and the rest are theirs. `dramaeval.Judge.load` reads what ``save_model`` wrote.

    Args:
        model: a folder, a name in ``configs/model/``, a name on the hub, a `Judge`, or a Qwen2-Audio model
            that is loaded already; the last is taken over, not copied.
        args: ``trl.SFTConfig``; None means TRL's defaults in ``sft_output/``. A batch is counted in records.
        train_dataset: what is learnt from.
        peft_config: PEFT's configuration of an adapter (see `dramaeval.create_peft_config`); None trains every
            weight. Layers that it names by the ends of their names are found wherever they are, in the audio
            tower too; where it names none, the language model's projections get adapters.
        enable_tensorboard: write curves to ``tensorboard/`` in ``args.output_dir``.
        objective: what is lowered; see `dramaeval.training.objectives.WeightedObjective`.

    Raises:
        ModelError: the model cannot be had.
        ValueError: there is no dataset, or its sample rate is not the model's.
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
        dataset = checked(train_dataset)
        args = prepared(args)
        trained, record_encoder, shared = ready(model, args, dataset, peft_config)
        super().__init__(
            model=trained,
            args=args,
            record_encoder=record_encoder,
            train_records=dataset.records,
            objective=objective,
            objectives=OBJECTIVES,
            batch={"questions_per_clip": 1, "shared_prefix": shared, "eval_clips": 8},
            callbacks=curves(args) if enable_tensorboard else (),
            sampler=DatasetSampler(dataset, record_encoder),
        )


class DatasetSampler:
    """Gives the questions, solutions and waveforms of an `AudioDataset` to a trainer.

    Args:
        dataset: draws the questions and perturbs the clips.
        record_encoder: prepares them.
    """

    def __init__(self, dataset: AudioDataset, record_encoder: RecordEncoder) -> None:
        self.dataset = dataset
        self.record_encoder = record_encoder
        self._cached = lru_cache(maxsize=2048)(self._features)

    def __call__(self, number: int, epoch: int) -> SampledQuestions:
        """The question of a record in an epoch."""
        dataset, record = self.dataset, self.dataset.records[number]
        dimension, target = dataset.draw(number, epoch)
        question = dataset.question(number, epoch)
        # A perturbed clip differs from epoch to epoch: there is no use in keeping it.
        clip = self._features(number, epoch) if dataset.is_perturb else self._cached(number, 0)
        targets = {dimension.key: Target(target)}
        encoded = self.record_encoder.encode_with_clip(record, clip, [question], targets)
        return SampledQuestions(record, (question,), targets, encoded)

    def _features(self, number: int, epoch: int) -> Any:
        return self.record_encoder.logmel(self.dataset.waveform(number, epoch))


def prepared(args: trl.SFTConfig | None) -> trl.SFTConfig:
    """A copy of the arguments with what TRL does to texts switched off: the batches are the project's own."""
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
    """The precision that the arguments name; where they name none, transformers takes the environment's."""
    return "fp16" if args.fp16 else "bf16" if args.bf16 else "no"


def ready(
    model: Any, args: Any, dataset: AudioDataset, peft_config: Any | None
) -> tuple[Any, RecordEncoder, bool]:
    """What a trainer needs of a model and a dataset.

    Args:
        model: as the trainers take it.
        args: the trainer's.
        dataset: what is learnt from.
        peft_config: of an adapter; None for none.

    Returns:
        the model, with the adapter attached; the maker of its record_encoder; whether it can share prefixes.

    Raises:
        ModelError, ValueError: as the trainers.
    """
    judge = _judge(model, args)
    record_encoder = RecordEncoder(
        dataset.task, judge.processor, judge.family, max_seconds=MAX_SECONDS, cache_clips=1
    )
    if not judge.family.takes_audio:
        raise ModelError(
            f"{judge.family.path} reads and does not hear: train it with launch.py model=causal_lm."
        )
    if dataset.sample_rate != record_encoder.logmel.sampling_rate:
        raise ValueError(
            f"AudioDataset(sample_rate={dataset.sample_rate}), but this model hears "
            f"{record_encoder.logmel.sampling_rate} Hz: give sample_rate={record_encoder.logmel.sampling_rate}."
        )
    judge.family.freeze_fixed(judge.model)
    trained = judge.model
    if peft_config is not None:
        if not getattr(peft_config, "target_modules", "none"):
            peft_config = restrict(copy.deepcopy(peft_config), judge.family, "llm")
        trained = attach(trained, peft_config)
    return trained, record_encoder, judge.shared_prefix


def checked(given: Any) -> AudioDataset:
    """The dataset; raises ValueError where it is none."""
    if not isinstance(given, AudioDataset):
        raise ValueError(
            f"train_dataset must be a dramaeval.AudioDataset, not {type(given).__name__}: "
            'AudioDataset("train.jsonl") makes one.'
        )
    return given


def _judge(model: Any, args: Any) -> Judge:
    if isinstance(model, Judge):
        return model
    if isinstance(model, str | os.PathLike):
        return Judge.load(model, device=args.device.type)
    return _taken_over(model)


def _taken_over(model: Any) -> Judge:
    """A judge around a model that is loaded already."""
    from dramaeval.models.families.qwen2_audio import Qwen2AudioForConditionalGeneration as Ours

    source = str(getattr(model, "name_or_path", "") or "")
    if not source or type(model) not in Ours.__mro__:
        raise ModelError(
            f"A {type(model).__name__} cannot be trained as a judge: give a folder or a name on the hub, "
            f"or a {Ours.__name__} made by from_pretrained."
        )
    if any(hasattr(part, "_hf_hook") for part in model.modules()):
        raise ModelError(
            "A model that accelerate has spread over devices cannot be taken over: give the folder of its "
            "weights in its place."
        )
    attention = getattr(model.config, "_attn_implementation", None) or "sdpa"
    config = compose("model=qwen2_audio")
    config.model.path = literal(source)
    config.model.attention = "sdpa" if attention == NAME else attention
    family: Family = instantiate(config.model)
    # The judge's class only adds a forward pass to transformers': the weights stay where they are.
    model.__class__ = Ours
    family.configure(model)
    return Judge(model, family, family.processor(), config)


def curves(args: Any) -> list[Any]:
    """The callback that writes curves beside the trainer's output."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    folder = Path(args.output_dir) / "tensorboard"
    return [TensorBoardCallback(SummaryWriter(log_dir=str(folder)))]
