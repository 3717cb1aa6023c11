"""The context of a run, which every stage gets: the configuration and the objects that are built from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from transformers import set_seed

from dramaeval.compat.deepspeed import unpartitioned_weights
from dramaeval.config.problems import ConfigError, ProblemCollector
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import Stage
from dramaeval.config.task_schema import OnBad
from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.distributed.zero import zero_stage
from dramaeval.evaluation.scoring import AnyPrediction, score
from dramaeval.models.adapters import load_adapter
from dramaeval.models.checkpoint import Checkpoint, check_whole, find_checkpoint
from dramaeval.models.devices import check_adapter_fits, choose_device
from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache, tower_name
from dramaeval.models.inputs.clip_check import clip_problem
from dramaeval.models.inputs.record_encoder import RecordEncoder, attach_encoding_cache
from dramaeval.stages.base_model import base_folder, base_quantization, check_checkpoint
from dramaeval.stages.builders import (
    attach_examples,
    build_cache,
    build_callbacks,
    build_family,
    build_metrics,
    build_quantization,
    build_task,
    check_labels,
    check_listeners,
)
from dramaeval.stages.compatibility import check_best_figure, check_family, check_task
from dramaeval.stages.converted_sources import conversions_folder
from dramaeval.stages.fingerprint import Fingerprint, fingerprint_of
from dramaeval.stages.progress import Progress
from dramaeval.stages.read_splits import check_texts, read_splits
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.training_arguments import build_adapter, build_arguments, planned_steps
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.task import Task
from dramaeval.training.callbacks import debug
from dramaeval.training.callbacks.loggers import Loggers
from dramaeval.training.question_sampler import trainable_dimensions, unrated_dimensions

log = logging.getLogger(__name__)

#: Returns further callbacks of the trainer, from the run folder, the processes and the trainer's arguments.
CallbackProvider = Callable[[Path, Processes, Any], Iterable[Any]]


class RunContext:
    """The objects of one run. All except the judge are built in the constructor, before any weights load.

    Args:
        config: a composed and checked configuration.
        identity: the short id of the run; None for the id of ``config``.
        further_callbacks: a function that returns callbacks in addition to those of the training itself.

    Attributes:
        stages: the requested stages.
        trains, evaluates: whether the stages include training and evaluation.
        device, task, family, metrics: the objects that are built from the settings with these names.
        checkpoint: the model or adapter in the folder ``checkpoint``, or None.
        splits: the records by split.
        validates: whether there is a val split for validation.
        args: the trainer's arguments; None without training.
        callbacks: the user's callbacks of the trainer.
        adapter: PEFT's configuration; None without training or for full fine-tuning.
        base: the folder of the base model; None for ``model.path``.
        quantization: the quantisation settings of the base, or None.
        loggers: TensorBoard and W&B.
        trained: whether this start or an earlier start has trained the judge of the run.
        phases: the scored phases in their order: zero_shot, final.

    Raises:
        ConfigError: lists the problems of all objects.
        BadRecordsError: lists the problems of all records.
    """

    def __init__(
        self,
        config: DictConfig,
        folder: RunFolder,
        processes: Processes = SINGLE_PROCESS,
        identity: str | None = None,
        further_callbacks: CallbackProvider = lambda *_: (),
    ) -> None:
        self.config, self.folder, self.processes = config, folder, processes
        self.id = identity or run_id(config)
        self.further_callbacks = further_callbacks
        self.stages = frozenset(config.stages)
        self.trains = Stage.train in self.stages
        self.evaluates = Stage.evaluate in self.stages
        set_seed(config.seed)
        if config.debug:
            debug.prepare()
        self.loggers = Loggers(
            config,
            folder.path,
            debug_folder=folder.debug,
            tensorboard_folder=folder.tensorboard,
            writes=processes.is_rank_zero,
            identity=self.id,
        )
        self._model: Any = None
        self._record_encoder: RecordEncoder | None = None
        self._build_judge_parts()
        self._read_records()
        self._build_training()
        self.trained = False
        self.phases: list[str] = []

    def _build_judge_parts(self) -> None:
        config = self.config
        with ProblemCollector() as problems:
            device = "auto" if config.plan_device else config.device.value
            self.device: torch.device = problems.collect(choose_device, device)
            self.task: Task = problems.collect(build_task, config)
            self.family: Any = problems.collect(build_family, config)
            self.checkpoint: Checkpoint | None = (
                problems.collect(find_checkpoint, config.checkpoint) if config.checkpoint else None
            )
            if self.family:
                problems.collect(check_family, config, self.family)
            if self.family and self.task:
                problems.collect(check_task, config, self.family, self.task)
            self.metrics = problems.collect(build_metrics, config)

    def _read_records(self) -> None:
        self.splits = read_splits(
            self.config,
            self.task,
            conversions=conversions_folder(self.config, self.folder.path),
            takes_audio=self.family.takes_audio,
            processes=self.processes,
        )
        self.base = base_folder(self.checkpoint, self.family)
        self._check_texts()
        attach_examples(self.task, self.splits.records, self.config.seed)
        if not self.family.takes_audio:
            log.info("This judge takes no audio: clips are not looked up and not decoded.")
        if self.splits["train"]:
            self.task.learn(self.splits["train"])
        if self.trains:
            check_listeners(self.task, self.splits["train"])
            check_labels(self.task, self.splits["train"])
        self.splits.log_remarks(self.task)
        if self.trains and (unrated := unrated_dimensions(self.task, self.splits["train"])):
            log.warning(
                "train: nobody rated %s, so the judge is not trained on it and scores it as the base model does. "
                "task.dimensions=[…] selects the dimensions to ask about.",
                ", ".join(unrated),
            )
        self.validates = bool(self.splits["val"])

    def _check_texts(self) -> None:
        """Refuse or skip texts that the model would read as markup; a plan does not load a tokenizer from the hub."""
        if not any(self.splits.records.values()):
            return
        if self.config.plan and not (self.base or Path(self.family.path).is_dir()):
            log.info("Texts are not searched for control tokens: the plan reads no tokenizer.")
            return
        text_check = self.record_encoder.text_check
        skips = self.config.task.data.on_bad is OnBad.skip
        self.splits = check_texts(self.splits, self.task, text_check, skips=skips)
        split_records = self.splits.records.values()
        records = (r for split in split_records for r in split if len(r.prompt_clips) > 1)
        if problem := clip_problem(self.record_encoder, records):
            raise ConfigError(problem)

    def _build_training(self) -> None:
        config = self.config
        self.args: Any = build_arguments(config, self.folder, self.device, validates=self.validates)
        if self.args:
            check_best_figure(self.args, self.task, self.family, self.splits["val"])
        self.callbacks: list[Any] = build_callbacks(config, self.args)
        steps = None
        if self.args and (config.batch.max_tokens is None or self.args.max_steps > 0):
            count, prompts = len(self.trainable_records), self.task.prompts_per_record
            steps = planned_steps(count, self.args, config.processes, prompts)
        self.adapter = build_adapter(config, self.family, steps)
        check_checkpoint(config, self.family, self.adapter, self.checkpoint)
        self.quantization = base_quantization(build_quantization(config), self.starting_adapter)

    @property
    def starting_adapter(self) -> Path | None:
        """The folder of the adapter in ``checkpoint``; None for a full model, or without ``checkpoint``."""
        return self.checkpoint.folder if self.checkpoint and self.checkpoint.adapter else None

    @property
    def phase(self) -> str:
        """The current phase of the judge: ``zero_shot`` before any training, then ``final``."""
        untrained = not self.trained if self.trains else self.checkpoint is None
        return "zero_shot" if untrained else "final"

    @property
    def trainable_records(self) -> list[Record]:
        """The training records with at least one rating of the task's dimensions."""
        records = self.splits["train"]
        return [record for record in records if trainable_dimensions(self.task, record)]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights: float32 in full fine-tuning, unless the settings name another dtype."""
        if self.trains and self.adapter is None and self.family.dtype == "auto":
            return torch.float32
        return self.family.torch_dtype(self.planned_device)

    @property
    def place(self) -> str:
        """The device and the dtype of the judge, as a sentence for the log."""
        return f"Running on {self.device} in {str(self.dtype).removeprefix('torch.')}."

    @property
    def planned_device(self) -> torch.device:
        """The device for which the run is planned: ``plan_device``, or else the device of this run."""
        return torch.device(self.config.plan_device) if self.config.plan_device else self.device

    @property
    def model(self) -> Any:
        """The judge in its current phase; it is loaded at its first use."""
        if self._model is None:
            with unpartitioned_weights():
                self._model = self._load()
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        """Replace the judge; None: the next use loads it from the run folder or from ``checkpoint``."""
        self._model = model

    @property
    def record_encoder(self) -> RecordEncoder:
        """The encoder that prepares records for the judge."""
        if self._record_encoder is None:
            self._record_encoder = RecordEncoder(
                self.task,
                self.family.processor(self.base),
                self.family,
                max_seconds=self.config.task.data.max_seconds,
                cache_clips=self.config.batch.cache_clips,
                cache=self._feature_cache,
            )
        return self._record_encoder

    def score(
        self,
        records: Sequence[Record],
        progress: Progress,
        record_encoder: RecordEncoder | None = None,
    ) -> list[AnyPrediction]:
        """Score records with the judge.

        Args:
            progress: counts the scored records.
            record_encoder: the encoder of the records; None for `record_encoder` of this context.
        """
        return score(
            self.model,
            records,
            record_encoder or self.record_encoder,
            clips_a_batch=self.config.batch.eval_clips,
            shared_prefix=self.config.batch.shared_prefix,
            skip_unreadable=self.config.task.data.on_bad is OnBad.skip,
            group_by=self.config.evaluation.group_by,
            progress=progress,
            processes=self.processes,
            keep_thoughts=self.config.evaluation.keep_thoughts,
        )

    def _load(self) -> Any:
        start = self.checkpoint
        # Before the training the judge is the starting point, even if an earlier start has finished the training.
        if self.processes.broadcast(
            (self.trained or not self.trains) and self.folder.model.is_dir()
        ):
            start = find_checkpoint(str(self.folder.model))
        if start:
            self.processes.from_rank_zero(partial(check_whole, start.folder))
        base = start.folder if start and not start.adapter else self.base
        if base is None:
            self.processes.on_rank_zero(self.family.write_files)
        model = self.family.load(self.device, base, self.dtype, self.quantization)
        if self.config.batch.shared_prefix:
            self.family.check_shared_prefix(model)
        if start and start.adapter:
            check_adapter_fits(model)
            model = load_adapter(model, start.folder, trainable=self.trains)
        model.eval()
        self.attach_encoding_cache(model)
        return model

    @cached_property
    def made_from(self) -> Fingerprint:
        """The fingerprint of this run; hashes of clips are stored beside the cached features.

        Raises:
            ConfigError: see `fingerprint_of`.
        """
        cache = self._feature_cache
        return fingerprint_of(self, ContentHashes(cache.side_folder("hashes") if cache else None))

    @cached_property
    def _feature_cache(self) -> FeatureCache | None:
        return build_cache(self.config) if self.family.takes_audio else None

    def attach_encoding_cache(self, model: Any) -> None:
        """Cache the audio tower's encodings on disk if the tower does not change."""
        cache, name = self.record_encoder.cache, None
        # With ZeRO-3 all processes have to run the tower together, even if one has no clips to encode.
        if cache is not None and zero_stage(self.config.zero) < 3:
            name = tower_name(unwrap_judge(model), self.family.parts.get("audio"))
        encodings = None
        if cache is not None and name:
            encodings = AudioEncodingCache(cache, name, self.family.parts["audio"])
        attach_encoding_cache(model, self.record_encoder, encodings)


def rating_problems(context: RunContext, stage: Stage, *, takes_pairs: bool = False) -> list[str]:
    """The problem of a stage that needs one task with ratings, or with ``takes_pairs`` also accepts a `PairTask`."""
    task = context.task
    rated = not task.parts and len(task.rated_dimensions) == len(task.dimensions)
    if stage not in context.stages or rated or (takes_pairs and isinstance(task, PairTask)):
        return []
    return [
        f"stages has {stage.name}, which needs one task with ratings, and task={task.name} is not one: use "
        "stages=[evaluate]."
    ]
