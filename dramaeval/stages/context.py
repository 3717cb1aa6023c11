"""One run, start to end: check, plan, evaluate, train, evaluate again, report.

Every piece of work leaves a file when it is whole, and is skipped when that file is there. So a run that was
killed goes on where it was when it is started again in the same folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dramaeval.config.problems import ProblemCollector
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import OnBad, Stage
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes, processes_here
from dramaeval.distributed.zero import unpartitioned_weights, zero_stage
from dramaeval.evaluation.scoring import AnyPrediction, score
from dramaeval.models.adapters import attach, load_adapter
from dramaeval.models.checkpoint import Checkpoint, check_whole, find_checkpoint
from dramaeval.models.devices import check_adapter_fits, choose_device
from dramaeval.models.errors import ModelError
from dramaeval.models.inputs.audio_encodings import (
    AudioEncodingCache,
    attach_encoding_cache,
    tower_name,
)
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.planning.machine import Capacity
from dramaeval.stages import environment
from dramaeval.stages.base_model import base_folder, base_quantization, check_start
from dramaeval.stages.builders import (
    attach_examples,
    build_adapter,
    build_arguments,
    build_family,
    build_metrics,
    build_quantization,
    build_task,
    check_adapted,
    check_answers,
    check_layout,
)
from dramaeval.stages.controls import run_controls
from dramaeval.stages.evaluate import evaluate, report
from dramaeval.stages.evidence import check_keys
from dramaeval.stages.export import export
from dramaeval.stages.model_card import write_card
from dramaeval.stages.plan import make_plan, planned_steps
from dramaeval.stages.prepare import prepare
from dramaeval.stages.run_folder import RunFolder, is_complete, write_folder_atomic
from dramaeval.stages.run_log import Progress
from dramaeval.stages.score import check_rated, check_systems, score_input
from dramaeval.stages.splits import INPUT, read_splits, scores_input
from dramaeval.stages.train import train
from dramaeval.training.callbacks import debug
from dramaeval.training.callbacks.loggers import Loggers
from dramaeval.training.grpo.arguments import check_completions
from dramaeval.training.grpo.settings import trains_by_reward
from dramaeval.training.question_sampler import trainable_dimensions

log = logging.getLogger(__name__)


class RunContext:
    """The objects of one run and the work that is done with them.

    Args:
        config: composed and checked.
        folder: where everything goes.
        processes: that share the work.
        identity: the run's short id; by default that of ``config``.
    """

    def __init__(
        self,
        config: DictConfig,
        folder: RunFolder,
        processes: Processes = SINGLE_PROCESS,
        identity: str | None = None,
    ) -> None:
        self.config = config
        self.id = identity or run_id(config)
        self.folder = folder
        self.processes = processes
        self.trains = Stage.train in config.stages
        self.evaluates = Stage.evaluate in config.stages
        environment.seed_everything(config.seed)
        if config.debug:
            debug.prepare()
        self.loggers = Loggers(config, folder, writes=processes.is_rank_zero, identity=self.id)
        with ProblemCollector() as problems:
            self.device = problems.collect(choose_device, config.device.value)
            self.task = problems.collect(build_task, config)
            self.family = problems.collect(build_family, config)
            self.checkpoint: Checkpoint | None = (
                problems.collect(find_checkpoint, config.checkpoint) if config.checkpoint else None
            )
            if self.family:
                problems.collect(check_layout, config, self.family)
                problems.collect(check_adapted, config, self.family)
            if self.family and self.task:
                problems.collect(check_answers, config, self.family, self.task)
            self.metrics = problems.collect(build_metrics, config)
        self.splits = read_splits(config, self.task, heard=self.family.hears)
        attach_examples(self.task, self.splits, config.seed)
        held_out = [one for split in self.evaluated for one in self.splits[split]]
        tasks = list(self.task.parts.values()) or [self.task]
        check_keys(config, held_out, tasks, self.splits["train"])
        check_systems(config.stages, self.splits[INPUT])
        check_rated(config.stages, self.task)
        if not self.family.hears:
            log.info("This judge reads and does not hear: no clip is looked up or decoded.")
        if self.splits["train"]:
            self.task.learn(self.splits["train"])
        self.splits.remarks(self.task, tell=True)
        self.validates = bool(self.splits["val"])
        self.args = build_arguments(config, folder, self.device, validates=self.validates)
        steps = None
        if self.args:
            learnt = sum(bool(trainable_dimensions(self.task, one)) for one in self.splits["train"])
            if config.batch.max_tokens is None or self.args.max_steps > 0:
                steps = planned_steps(learnt, self.args, config.processes)
        self.adapter = build_adapter(config, self.family, steps)
        check_start(config, self.family, self.adapter, self.checkpoint)
        self.base = base_folder(self.checkpoint, self.family)
        start = self.checkpoint.folder if self.checkpoint and self.checkpoint.adapter else None
        self.quantization = base_quantization(build_quantization(config), start)
        self._model: Any = None
        self._sheets: RecordEncoder | None = None
        #: Whether the judge of this run is trained, now or by an earlier start.
        self.trained = False

    # What it takes, before it is done

    def plan(self) -> Any:
        """The plan, from files and architecture alone."""
        with unpartitioned_weights():
            skeleton = self.family.skeleton(self.base)
        self.family.freeze_fixed(skeleton)
        if self.trains and trains_by_reward(self.config):
            most = skeleton.config.get_text_config().max_position_embeddings
            learnt = [one for one in self.splits["train"] if trainable_dimensions(self.task, one)]
            check_completions(self.args, self.record_encoder, learnt, most)
        if self.adapter is not None:
            skeleton = attach(skeleton, self.adapter)
        return make_plan(
            splits=self.splits,
            task=self.task,
            family=self.family,
            skeleton=skeleton,
            args=self.args,
            questions_per_clip=self.config.batch.questions_per_clip,
            shared_prefix=self.config.batch.shared_prefix,
            dtype=self.dtype,
            device=self.device,
            eval_clips=self.config.batch.eval_clips,
            max_tokens=self.config.batch.max_tokens,
            quantization=self.quantization,
            processes=self.config.processes,
            zero=self.config.zero,
        )

    def capacity(self) -> Capacity | None:
        """The memory that there is; None where a device map spreads the model over all that there is."""
        if self.family.device_map is not None:
            return None
        return Capacity.here(self.device, processes_here(self.config.processes))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights: full fine-tuning keeps them in float32 unless asked otherwise."""
        if self.trains and self.adapter is None and self.family.dtype == "auto":
            return torch.float32
        return self.family.torch_dtype(self.device)

    # The work

    def carry_out(self) -> float | None:
        """Do what the stages say, as far as it is not done yet."""
        surroundings = environment.describe(self.config.seed, self.device, self.dtype)
        surroundings |= {"processes": self.processes.count, "run_id": self.id}
        if self.processes.is_rank_zero:
            write_json_atomic(self.folder.environment, surroundings, listed=True)
        log.info("Running on %s in %s.", self.device, surroundings["dtype"])
        first = "zero_shot" if self.trains or not self.checkpoint else "final"
        phases = []
        if Stage.prepare in self.config.stages:
            self.processes.on_rank_zero(self._prepare)
        if self.evaluates and (not self.trains or self.config.evaluation.zero_shot):
            evaluate(self, first)
            phases.append(first)
        if self.trains:
            train(self)
            if self.evaluates:
                evaluate(self, "final")
                phases.append("final")
        if Stage.controls in self.config.stages:
            run_controls(self, self.evaluated[-1])
        objective = report(self, phases) if phases else None
        if scores_input(self.config):
            scored = score_input(self)
            if Stage.leaderboard in self.config.stages:
                from dramaeval.stages.leaderboard import write_leaderboard

                self.processes.on_rank_zero(lambda: write_leaderboard(self, scored))
        self.processes.on_rank_zero(self._hand_over)
        return objective

    def _prepare(self) -> None:
        prepare(self.task, dict(self.splits.records), self.folder.prepared, self.config.seed)

    def _hand_over(self) -> None:
        """What one process does when the rest is done: the card with what was measured, and the export."""
        if self.folder.model.is_dir():
            write_card(self.folder.model, self.folder.path)
        if Stage.export in self.config.stages and not is_complete(self.folder.export):
            self._export()

    @property
    def model(self) -> Any:
        """The judge as it stands, loaded when it is first needed."""
        if self._model is None:
            with unpartitioned_weights():
                self._model = self._load()
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        """Take another judge from now on; None loads the one that the folder or the checkpoint holds."""
        self._model = model

    @property
    def record_encoder(self) -> RecordEncoder:
        """Prepares records for the judge."""
        if self._sheets is None:
            self._sheets = RecordEncoder(
                self.task,
                self.family.processor(self.base),
                self.family,
                max_seconds=self.config.task.data.max_seconds,
                cache_clips=self.config.batch.cache_clips,
                cache=self._cache(),
            )
        return self._sheets

    def _cache(self) -> FeatureCache | None:
        """Where features of clips are kept; None where they are not."""
        settings = self.config.cache
        if not settings.enabled or not settings.folder or not self.family.hears:
            return None
        return FeatureCache(Path(settings.folder).expanduser(), int(settings.max_gb * 1e9))

    def attach_encoding_cache(self, model: Any) -> None:
        """Let what the audio tower makes of clips be kept, as long as the tower stays as it is now."""
        kept = None
        # With ZeRO-3 a pass through the tower is one of all processes, whoever has clips for it.
        if self.record_encoder.cache is not None and zero_stage(self.config.zero) < 3:
            name = tower_name(model, self.family)
            kept = (
                AudioEncodingCache(self.record_encoder.cache, name, self.family.parts["audio"])
                if name
                else None
            )
        attach_encoding_cache(model, self.record_encoder, kept)

    def _load(self) -> Any:
        start = self.checkpoint
        # Before the training the judge is what the training starts from, although its result may be there.
        behind = not self.trains or self.trained
        if self.processes.broadcast(behind and self.folder.model.is_dir()):
            start = find_checkpoint(str(self.folder.model))
        if start:
            self._check_whole(start)
        base = start.folder if start and not start.adapter else self.base
        model = self.family.load(self.device, base, self.dtype, self.quantization)
        if self.config.batch.shared_prefix:
            self.family.prove_layout(model)
        if start and start.adapter:
            check_adapter_fits(model)
            model = load_adapter(model, start.folder, trainable=self.trains)
        model.eval()
        self.attach_encoding_cache(model)
        return model

    def _check_whole(self, start: Checkpoint) -> None:
        """Stop at every process where one of the weights' files is damaged; the first reads them all."""
        problem = None
        if self.processes.is_rank_zero:
            try:
                check_whole(start.folder)
            except ModelError as error:
                problem = str(error)
        if problem := self.processes.broadcast(problem):
            raise ModelError(problem)

    def score(
        self,
        records: Sequence[Record],
        progress: Progress,
        record_encoder: RecordEncoder | None = None,
    ) -> list[AnyPrediction]:
        """What the judge as it stands says of records; ``record_encoder`` where they are asked in another way."""
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
        )

    def _export(self) -> None:
        """Write the judge for others to use: the adapter, or a plain full model."""
        self.model = None  # makes room for another
        own = self.folder.model.is_dir()
        source = find_checkpoint(str(self.folder.model)) if own else self.checkpoint
        if source is None:
            return
        check_whole(source.folder)
        write_folder_atomic(
            self.folder.export,
            lambda folder: export(
                self.family,
                self.base,
                source,
                folder,
                merges=self.config.export.merge,
                run=self.folder.path if own else None,
                device=self.device,
                dtype=self.dtype,
                quantization=self.quantization,
            ),
        )
        log.info("Exported to %s", self.folder.export)

    @property
    def evaluated(self) -> list[str]:
        """The held-out splits that there are, in order."""
        return [split for split in ("val", "test") if self.splits[split]]
