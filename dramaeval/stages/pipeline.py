"""Runs the requested stages, in this process or in several; a folder has one run at a time."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from dramaeval import startup
from dramaeval.config import secrets
from dramaeval.config.inheritance import inherit
from dramaeval.config.literal import folder_problem
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import Stage
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.distributed.folder_lock import locked, locked_together
from dramaeval.distributed.processes import (
    Processes,
    needs_process_group,
    process_group,
    started_by_launcher,
)
from dramaeval.distributed.spawn import run_processes, worker_log
from dramaeval.stages import (
    controls,
    environment,
    evaluate,
    export,
    import_records,
    leaderboard,
    prepare,
    report,
    score,
    serve,
    train,
)
from dramaeval.stages.api_context import ApiContext, context_of
from dramaeval.stages.api_plan import ApiPlan
from dramaeval.stages.checks import check
from dramaeval.stages.context import CallbackProvider, RunContext
from dramaeval.stages.converted_sources import conversions_folder
from dramaeval.stages.judge_yaml import check_examples, log_judge
from dramaeval.stages.logging_setup import set_up_logging
from dramaeval.stages.model_card import write_card
from dramaeval.stages.plan import Plan
from dramaeval.stages.planner import capacity, make_plan, missing_files
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.score_input import with_saved_stdin
from dramaeval.training.learning_rates import untrained_parts

log = logging.getLogger(__name__)

#: Stages that check the records before any weights load.
CHECK_RECORDS: tuple[ModuleType, ...] = (evaluate, controls, score, leaderboard, serve)
#: Stages that need no records and no judge; each of them is the only stage of its run.
_WITHOUT_CONTEXT = {Stage["import"], Stage.report}


def run(
    config: DictConfig, further_callbacks: CallbackProvider, server: serve.Serve | None = None
) -> float | None:
    """Run the configuration that Hydra composed in Hydra's output folder; for the arguments see `run_in_process`.

    Returns:
        the figure that a sweep maximises (see `dramaeval.stages.metrics_file.objective_of`); None without evaluation.

    Raises:
        ConfigError, BadRecordsError, ModelError: list problems for the user, before any weights load.
        FolderInUseError: another process works in the folder.
    """
    path = _output_folder()
    with locked(path):
        secrets.guard(config, HydraConfig.get())
        launched = started_by_launcher()
        config = with_saved_stdin(config, conversions_folder(config, None if config.plan else path))
        return run_in_folder(config, path, further_callbacks, server, starts_processes=not launched)


def run_in_folder(
    config: DictConfig,
    path: Path,
    further_callbacks: CallbackProvider,
    server: serve.Serve | None = None,
    *,
    starts_processes: bool,
) -> float | None:
    """As `run`, in a folder that this process has locked.

    Args:
        config, path, further_callbacks, server: see `run_in_process`.
        starts_processes: whether this process starts the processes of the run; if not, it is one of them.
    """
    serve.require_server(config, server)
    config = inherit(config)
    if starts_processes and needs_process_group(config) and not config.plan:
        startup.prepare_device(config.device.value)
        check(config)
        return run_processes(config, path, config.processes)
    with process_group() as processes:
        return run_in_process(config, path, processes, further_callbacks, server)


def _output_folder() -> Path:
    """The absolute path of Hydra's output folder.

    Raises:
        ConfigError: Hydra would interpolate its name.
    """
    runtime: Any = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)
    if problem := folder_problem(runtime["output_dir"], "hydra.run.dir:"):
        raise ConfigError(problem)
    return Path(runtime["output_dir"])


def run_in_process(
    config: DictConfig | None,
    path: Path | None,
    processes: Processes,
    further_callbacks: CallbackProvider,
    server: serve.Serve | None = None,
) -> float | None:
    """Execute a run's part in one of its processes.

    Args:
        config: a composed configuration. All ranks use that of rank 0; the other ranks may pass None.
        path: the run folder; as for ``config``, the path of rank 0 is used.
        further_callbacks: see `RunContext`.
        server: the function that runs ``stages=[serve]``.

    Returns:
        as `run`, on every rank; the errors are those of `run`.
    """
    config, path = processes.broadcast((config, path))
    if config is None or path is None:
        raise ValueError("Rank 0 must pass a configuration and a folder.")
    startup.prepare_device(config.device.value)
    with locked_together(path, processes):
        folder = RunFolder(path)
        set_up_logging(
            folder.log if processes.is_rank_zero else worker_log(path, processes.rank),
            terminal=processes.is_rank_zero,
        )
        identity = run_id(config)  # before config.processes changes
        log.info("Run %s in %s", identity, path)
        for line in startup.removed():
            log.warning("%s", line)
        config.processes = _process_count(config, processes)
        fill_in_described_processes(config)
        with startup.without_collections():  # imports the classes of the configuration
            check(config)
        if _WITHOUT_CONTEXT & set(config.stages):
            processes.on_rank_zero(lambda: _run_without_context(config, folder))
            return None
        context = context_of(config, folder, processes, identity, further_callbacks)
        if processes.is_rank_zero:
            log_judge(context)
        check_context(context, starts=not config.plan)
        if config.plan:
            return None
        processes.on_rank_zero(lambda: check_examples(context))
        processes.on_rank_zero(lambda: folder.open(config, context.made_from))
        with context.loggers:
            return run_stages(context, server)


def fill_in_described_processes(config: DictConfig) -> None:
    """In a plan for another machine, set one process for each of its GPUs."""
    if config.plan and config.processes == 1:
        config.processes = max(config.plan_gpus or 1, 1)


def _process_count(config: DictConfig, processes: Processes) -> int:
    """The number of processes that torchrun has started; without torchrun, the configured number."""
    if not started_by_launcher():
        return config.processes
    if config.processes not in (1, processes.count):
        raise ConfigError(
            f"processes={config.processes}, but {processes.count} were started: leave it out, or give "
            "torchrun the same number."
        )
    return processes.count


def _run_without_context(config: DictConfig, folder: RunFolder) -> None:
    imports = Stage["import"] in config.stages
    if not imports:
        log.info("Comparing %s", ", ".join(config.runs))
    if not config.plan:
        folder.open(config)
        (import_records if imports else report).run(config, folder)


def plan_in_process(config: DictConfig, path: Path, *, starts: bool) -> list[str]:
    """Check and plan a run of one or several processes in this process, without writing files.

    Args:
        config: a composed configuration with ``plan=true``.
        path: the run folder, which may be missing.
        starts: see `check_context`.

    Returns:
        the lines of the plan; an empty list for ``stages=[report]`` and ``stages=[import]``.

    Raises:
        ConfigError, BadRecordsError, ModelError: as `run`.
    """
    config = inherit(config)
    startup.prepare_device(config.device.value)
    fill_in_described_processes(config)
    check(config)
    if _WITHOUT_CONTEXT & set(config.stages):
        return []
    return check_context(context_of(config, RunFolder(path)), starts=starts).lines()


def check_context(context: RunContext, *, starts: bool) -> Plan | ApiPlan:
    """Check the records, log the plan, and compare it with the memory of the machine.

    Args:
        starts: whether the run will start next. Then missing files of the model are a problem, and so is a lack of memory
            unless ``plan_force`` is set. Otherwise a plan for another machine needs no files.

    Raises:
        ConfigError: lists every problem of the records, or of the plan.
    """
    if problems := [text for stage in CHECK_RECORDS for text in stage.check_records(context)]:
        raise ConfigError(problems)
    # The machines of a run may differ. Rank 0 decides, so that no process waits for one that has stopped.
    missing = context.processes.broadcast(missing_files(context, starts=starts))
    if missing and starts:
        raise ConfigError(missing)
    plan = context.plan() if isinstance(context, ApiContext) else make_plan(context)
    for line in plan.lines():
        log.info("%s", line)
    shortages = context.processes.broadcast(plan.shortages(capacity(context)))
    if context.config.plan_force or not starts:
        for shortage in shortages:
            log.warning("%s", shortage)
        shortages = []
    problems = [*missing, *plan.problems(), *_rate_problems(context, plan), *shortages]
    if problems:
        raise ConfigError(problems)
    return plan


def _rate_problems(context: RunContext, plan: Plan | ApiPlan) -> list[str]:
    """The problems of learning rates for parts that are not trained."""
    if not isinstance(plan, Plan) or not context.trains:
        return []
    return untrained_parts(context.config.trainer.get("learning_rates") or {}, plan.by_part)


def run_stages(context: RunContext, server: serve.Serve | None = None) -> float | None:
    """Run the requested stages; skip finished stages. Arguments and result as in `run_in_process`."""
    stages, processes, folder = context.stages, context.processes, context.folder
    described = environment.describe(context.config.seed, context.device, context.dtype)
    described |= {"processes": processes.count, "run_id": context.id}
    processes.on_rank_zero(lambda: write_json_atomic(folder.environment, described, listed=True))
    log.info("%s", context.place)
    if Stage.prepare in stages:
        prepare.run(context)
    if context.evaluates and context.trains and context.config.evaluation.zero_shot:
        evaluate.run(context)  # scores the judge before its training
    if context.trains:
        train.run(context)
        processes.on_rank_zero(folder.check_trained)
    if context.evaluates:
        evaluate.run(context)
    if Stage.controls in stages:
        controls.run(context)
    objective = evaluate.measure(context) if context.evaluates else None
    if {Stage.score, Stage.leaderboard} & stages:
        score.run(context)
    if Stage.leaderboard in stages:
        leaderboard.run(context)
    if folder.model.is_dir():
        processes.on_rank_zero(lambda: write_card(folder.model, folder.path))
    if Stage.export in stages:
        export.run(context)
    if Stage.serve in stages:
        serve.run(context, server)
    return objective
