"""One run, start to end: check, plan, evaluate, train, evaluate again, report.

Every piece of work leaves a file when it is whole, and is skipped when that file is there. So a run that was
killed goes on where it was when it is started again in the same folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from dramaeval.cluster.preemption import StopsOnRequest
from dramaeval.cluster.processes import ALONE, Processes, joined, started_together
from dramaeval.cluster.signals import REQUESTS
from dramaeval.cluster.workers import log_of, run_together
from dramaeval.config.batch import step_size
from dramaeval.config.check import ConfigError, check
from dramaeval.config.grpo import trains_by_reward
from dramaeval.config.identity import run_id
from dramaeval.config.schema import OnBad, Stage
from dramaeval.data.records import Record
from dramaeval.evaluation.scoring import score
from dramaeval.evaluation.table import agreement_text, print_agreement
from dramaeval.models.adapters import attach, count_parameters, load_adapter
from dramaeval.models.loading import (
    Checkpoint,
    check_adapter_fits,
    choose_device,
    find_checkpoint,
)
from dramaeval.models.quantization import write_quantization
from dramaeval.models.sheets import SheetMaker
from dramaeval.run import debug, environment, secrets
from dramaeval.run import log as run_log
from dramaeval.run.build import (
    bring_examples,
    build_adapter,
    build_arguments,
    build_family,
    build_quantization,
    build_task,
    check_answers,
    check_layout,
)
from dramaeval.run.card import write_card
from dramaeval.run.completions import check_completions, in_completions
from dramaeval.run.controlling import make_controls
from dramaeval.run.evidence import gather
from dramaeval.run.export import LEFT_OUT, export
from dramaeval.run.folder import RunFolder, fill_whole, write_json, write_whole
from dramaeval.run.loggers import Loggers
from dramaeval.run.measures import (
    agreement,
    beside_in_words,
    measured_beside,
    objective_of,
    read_phase,
)
from dramaeval.run.plan import make_plan, planned_steps
from dramaeval.run.prepare import prepare
from dramaeval.run.progress import TrainingProgress
from dramaeval.run.reading import INPUT, read_splits, scores_input
from dramaeval.run.scoring_input import check_rated, check_systems, score_input
from dramaeval.run.starting import base_quantization, check_start
from dramaeval.sweep.pruning import pruning
from dramaeval.training.draws import trainable
from dramaeval.training.zero import EngineCheck, whole_weights

log = logging.getLogger(__name__)


def carry_out(config: DictConfig) -> float | None:
    """Carry out a composed run inside Hydra's output folder.

    Returns:
        the sweep objective: macro Pearson on val if there is a val split, else on test; None without
        evaluation.

    Raises:
        ConfigError, BadRecordsError, ModelError: in words for the user, before any weights load.
    """
    path = Path(HydraConfig.get().runtime.output_dir)
    path.mkdir(parents=True, exist_ok=True)
    secrets.refuse(config, written_by_hydra(path))
    together = config.processes > 1 or (config.zero is not None and Stage.train in config.stages)
    if together and not config.plan and not started_together():
        check(config)
        return run_together(config, path, config.processes)
    if started_together() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigError(
            [
                "A sweep starts its processes itself: python launch.py -m processes=N …, without torchrun."
            ]
        )
    with joined() as processes:
        return work(config, path, processes)


def work(config: DictConfig | None, path: Path | None, processes: Processes) -> float | None:
    """Carry a run out as one of its processes.

    Args:
        config: composed; that of process 0 counts, the others may pass None.
        path: the run folder; likewise.
        processes: all that take part.

    Returns:
        the objective, at every process.

    Raises:
        ConfigError, BadRecordsError, ModelError: as `carry_out`.
    """
    shared, path = processes.agree((config, path))
    if shared is None or path is None:
        raise ValueError("The first process must bring a configuration and a folder.")
    folder = RunFolder(path)
    run_log.set_up(
        folder.log if processes.first else log_of(path, processes.rank), speaks=processes.first
    )
    identity = run_id(shared)  # as it was composed, whoever started the processes
    log.info("Run %s in %s", identity, path)
    shared.processes = _counted(shared, processes)
    check(shared)
    if Stage.report in shared.stages:
        processes.by_first(lambda: _compare(shared, folder))
        return None
    run = Run(shared, folder, processes, identity)
    for line in run.plan().lines():
        log.info("%s", line)
    if shared.plan:
        return None
    processes.by_first(lambda: folder.open(shared))
    with run.loggers:
        return run.carry_out()


def _compare(config: DictConfig, folder: RunFolder) -> None:
    """Compare finished runs: no data is read, no model is loaded."""
    log.info("Comparing %s", ", ".join(config.runs))
    if not config.plan:
        from dramaeval.run.comparing import compare_runs

        folder.open(config)
        compare_runs(config, folder)


def _counted(config: DictConfig, processes: Processes) -> int:
    """The number of processes: torchrun's where it started them, else what the configuration says."""
    if not started_together():
        return config.processes
    if config.processes not in (1, processes.count):
        raise ConfigError(
            [
                f"processes={config.processes}, but {processes.count} were started: leave it out, or give "
                "torchrun the same number."
            ]
        )
    return processes.count


class Run:
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
        processes: Processes = ALONE,
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
        self.loggers = Loggers(config, folder, writes=processes.first, identity=self.id)
        self.device = choose_device(config.device.value)
        self.task = build_task(config)
        self.family = build_family(config)
        self.checkpoint: Checkpoint | None = (
            find_checkpoint(config.checkpoint) if config.checkpoint else None
        )
        check_layout(config, self.family)
        check_answers(config, self.family, self.task)
        self.splits = read_splits(config, self.task, heard=self.family.hears)
        bring_examples(self.task, self.splits, config.seed)
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
            learnt = sum(bool(trainable(self.task, one)) for one in self.splits["train"])
            steps = planned_steps(learnt, self.args, config.processes)
        self.adapter = build_adapter(config, self.family, steps)
        check_start(config, self.family, self.adapter, self.checkpoint)
        start = self.checkpoint.folder if self.checkpoint and self.checkpoint.adapter else None
        self.quantization = base_quantization(build_quantization(config), start)
        self._model: Any = None
        self._sheets: SheetMaker | None = None

    # What it takes, before it is done

    def plan(self) -> Any:
        """The plan, from files and architecture alone."""
        with whole_weights():
            skeleton = self.family.skeleton(self.checkpoint.full if self.checkpoint else None)
        self.family.freeze_fixed(skeleton)
        if self.trains and trains_by_reward(self.config):
            most = skeleton.config.get_text_config().max_position_embeddings
            check_completions(self.args, self.sheets, self._trainable(), most)
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
            quantization=self.quantization,
            processes=self.config.processes,
            zero=self.config.zero,
        )

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
        if self.processes.first:
            write_json(self.folder.environment, surroundings)
        log.info("Running on %s in %s.", self.device, surroundings["dtype"])
        first = "zero_shot" if self.trains or not self.checkpoint else "final"
        phases = []
        if Stage.prepare in self.config.stages:
            self.processes.by_first(self._prepare)
        if self.evaluates and (not self.trains or self.config.evaluation.zero_shot):
            self._evaluate(first)
            phases.append(first)
        if self.trains:
            self._train()
            if self.evaluates:
                self._evaluate("final")
                phases.append("final")
        if Stage.controls in self.config.stages:
            make_controls(self, self.evaluated[-1])
        objective = self._report(phases) if phases else None
        if scores_input(self.config):
            scored = score_input(self)
            if Stage.leaderboard in self.config.stages:
                from dramaeval.run.ranking import write_leaderboard

                self.processes.by_first(lambda: write_leaderboard(self, scored))
        self.processes.by_first(self._hand_over)
        return objective

    def _prepare(self) -> None:
        prepare(self.task, dict(self.splits.records), self.folder.prepared, self.config.seed)

    def _hand_over(self) -> None:
        """What one process does when the rest is done: the card with what was measured, and the export."""
        if self.folder.model.is_dir():
            write_card(self.folder.model, self.folder.path)
        if Stage.export in self.config.stages and not self.folder.export.is_dir():
            self._export()

    @property
    def base(self) -> Path | None:
        """The folder of the full model that the judge is built on; None for the family's own path."""
        return self.checkpoint.full if self.checkpoint else None

    @property
    def model(self) -> Any:
        """The judge as it stands, loaded when it is first needed."""
        if self._model is None:
            self._model = self._load()
        return self._model

    @property
    def sheets(self) -> SheetMaker:
        """Prepares records for the judge."""
        if self._sheets is None:
            self._sheets = SheetMaker(
                self.task,
                self.family.processor(self.base),
                self.family,
                max_seconds=self.config.task.data.max_seconds,
                cache_clips=self.config.batch.cache_clips,
            )
        return self._sheets

    def _load(self) -> Any:
        with whole_weights():
            return self._read()

    def _read(self) -> Any:
        start = self.checkpoint
        if self.processes.agree(self.folder.model.is_dir()):
            start = find_checkpoint(str(self.folder.model))
        base = start.folder if start and not start.adapter else self.base
        model = self.family.load(self.device, base, self.dtype, self.quantization)
        if self.config.batch.shared_prefix:
            self.family.prove_layout(model)
        if start and start.adapter:
            check_adapter_fits(model)
            model = load_adapter(model, start.folder, trainable=self.trains)
        return model.eval()

    def _evaluate(self, phase: str) -> None:
        """Score the held-out splits, unless that was done before an interruption."""
        if self.processes.agree(self.folder.predictions(phase).is_file()):
            return
        lines = []
        for split in ("val", "test"):
            if self.splits[split]:
                progress = run_log.Progress(
                    f"scoring {split} ({phase.replace('_', '-')})", len(self.splits[split]), "clips"
                )
                found = score(
                    self.model,
                    self.splits[split],
                    self.sheets,
                    clips_a_batch=self.config.batch.eval_clips,
                    shared_prefix=self.config.batch.shared_prefix,
                    skip_unreadable=self.config.task.data.on_bad is OnBad.skip,
                    group_by=self.config.evaluation.group_by,
                    progress=progress,
                    processes=self.processes,
                )
                progress.finish()
                lines += [{"split": split, "phase": phase, **one.to_json()} for one in found]
        text = "".join(
            json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines
        )
        self.processes.by_first(lambda: write_whole(self.folder.predictions(phase), text))

    def _train(self) -> None:
        """Train, from the last checkpoint if there is one, and save the result."""
        from dramaeval.training.judging import last_checkpoint

        if self.processes.agree(self.folder.model.is_dir()):
            log.info("Training was finished before; taking the judge from %s.", self.folder.model)
            self._model = None
            return
        if not self.validates:
            log.info("There is no val split: training is not validated and the last step is kept.")
        resume = self.processes.agree(last_checkpoint(self.folder.checkpoints))
        if self.args is not None and self.args.save_only_model:
            self._warn_of_no_resuming(resume)
        trainer = self._trainer(resume)
        if self.config.debug and self.processes.first:
            debug.dump_first_batch(trainer, self.folder.debug)
        if resume:
            log.info("Resuming from %s.", resume.name)
        with REQUESTS.noted_only():
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        fill_whole(self.folder.model, lambda folder: self._save(trainer, folder), self.processes)
        self._model = trainer.accelerator.unwrap_model(trainer.model)

    def _warn_of_no_resuming(self, left: Path | None) -> None:
        if left is not None:
            raise ConfigError(
                [
                    f"{left} was saved with trainer.args.save_only_model=true, without the optimizer's state: "
                    "training cannot be resumed from it. Start anew in another folder (hydra.run.dir=…), "
                    f"from its weights if you like: checkpoint={left}."
                ]
            )
        log.warning(
            "trainer.args.save_only_model=true: if this run is interrupted it cannot be resumed, only started "
            "anew or from a checkpoint's weights (checkpoint=FOLDER)."
        )

    def _save(self, trainer: Any, folder: Path) -> None:
        """All processes take part: ZeRO-3 gathers the weights from each."""
        save(trainer, folder)
        if not self.processes.first:
            return
        if self.quantization is not None:
            write_quantization(self.quantization, folder)
        write_card(folder, self.folder.path)

    def _export(self) -> None:
        """Write the judge for others to use: the adapter, or a plain full model."""
        self._model = None  # makes room for another
        own = self.folder.model.is_dir()
        source = find_checkpoint(str(self.folder.model)) if own else self.checkpoint
        if source is None:
            return
        fill_whole(
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

    def _trainer(self, resume: Path | None) -> Any:
        model = self.model
        self.family.freeze_fixed(model)
        environment.seed_everything(self.config.seed)
        if self.adapter is not None and not (self.checkpoint and self.checkpoint.adapter):
            model = attach(model, self.adapter)
        trained = sum(count for count, _ in count_parameters(model, self.family).values())
        log.info("Training %s parameters.", f"{trained:,}")
        # Hydra would copy records and models into its own containers, so it only makes the constructor.
        settings = {key: value for key, value in self.config.trainer.items() if key != "args"}
        trainer = instantiate(settings, _convert_="all")(
            model=model,
            args=self.args,
            sheets=self.sheets,
            train_records=self._trainable(),
            val_records=self.splits["val"],
            batch=self.config.batch,
            callbacks=self._callbacks(resume),
        )
        step = in_completions(self.config, step_size(self.config, self.processes.count))
        trainer.add_callback(EngineCheck(trainer, self.config.zero, step))
        return trainer

    def _trainable(self) -> list[Record]:
        """The training records with at least one rating of what is asked."""
        records = self.splits["train"]
        kept = [record for record in records if trainable(self.task, record)]
        if len(kept) < len(records):
            log.warning(
                "%d of %d training records have no rating of what is asked; they train nothing.",
                len(records) - len(kept),
                len(records),
            )
        return kept

    def _callbacks(self, resume: Path | None) -> Iterable[Any]:
        step = int(resume.name.rpartition("-")[2]) if resume else None
        return [
            TrainingProgress(),
            StopsOnRequest(REQUESTS, self.processes),
            *pruning(self.folder.path, self.processes, self.args),
            *self.loggers.callbacks(step),
        ]

    @property
    def evaluated(self) -> list[str]:
        """The held-out splits that there are, in order."""
        return [split for split in ("val", "test") if self.splits[split]]

    # What came out

    def _report(self, phases: list[str]) -> float | None:
        """Measure agreement, write metrics.json, print the table; returns the objective."""
        keys = [dimension.key for dimension in self.task.rated]
        metrics: dict[str, Any] = {}
        files = {phase: self.folder.predictions(phase) for phase in phases}
        said = {phase: read_phase(file) for phase, file in files.items()}
        for phase, by_split in said.items():
            for split, predictions in by_split.items():
                metrics.setdefault(split, {})[phase] = agreement(self.config, predictions, keys)
        beside = measured_beside(self.config, self.task, files)
        rubric = {"name": self.task.rubric.name, "version": self.task.rubric.version}
        about = {
            "rubric": rubric,
            "records": {name: len(records) for name, records in self.splits.records.items()},
            "skipped": self.splits.skipped_summary(),
            "overlaps": list(self.splits.overlaps),
            "scoring": self.task.scoring(),
            "remarks": self.splits.remarks(self.task),
        }
        if self.processes.first:
            evidence = gather(self, said) if metrics else {}
            whole = {**metrics, **beside, **evidence, "about": about}
            write_json(self.folder.metrics, whole)
            if self.config.evaluation.html and metrics:
                # Plots and templates are loaded where there is something to show.
                from dramaeval.run.reporting import write_report

                write_report(self, whole, said)
            elif self.config.evaluation.html:
                log.info("No report.html: it shows agreement on ratings, and this task has none.")
        self.loggers.report(metrics)
        titles = {dimension.key: dimension.title for dimension in self.task.dimensions}
        for split in metrics:
            text = agreement_text(metrics[split], heading=split, titles=titles)
            log.info("\n%s", text, extra={"only_in_file": True})
            if self.processes.first:
                print_agreement(metrics[split], heading=split, titles=titles)
        for text in beside_in_words(beside, metrics):
            log.info("%s", text)
        log.info("Everything is in %s", self.folder.path)
        return objective_of(metrics, beside, phases[-1])


def save(trainer: Any, folder: Path) -> None:
    """Save the model and its processor in the libraries' own formats."""
    trainer.save_model(str(folder))
    # Such as a pickle of the trainer's arguments: the run's configuration says the same, and readably.
    if not trainer.args.should_save:
        return
    for pattern in LEFT_OUT:
        for file in folder.glob(pattern):
            file.unlink()


def written_by_hydra(folder: Path) -> list[Path]:
    """The files that Hydra has written by the time a run begins."""
    sweep = HydraConfig.get().sweep.dir
    return [*(folder / ".hydra").glob("*.yaml"), Path(sweep) / "multirun.yaml"]
