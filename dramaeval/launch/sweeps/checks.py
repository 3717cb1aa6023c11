"""Checks the runs of a sweep without starting them, with the checks that each run makes before its model loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.problems import ConfigError
from dramaeval.errors import UserFacingError
from dramaeval.launch.sweeps.folder import SweepRun


def plan_runs(
    runs: Sequence[SweepRun],
    settings_of: Callable[[SweepRun], DictConfig],
    machine: Mapping[str, Any],
    *,
    starts: bool,
) -> list[list[str]]:
    """Check and plan each run: its settings, files and records. Nothing is written.

    Args:
        settings_of: returns the settings of a run, and sets Hydra's configuration to that of the run.
        machine: settings that describe the machine of the runs, as far as the launcher knows it; the settings of a run
            take precedence.
        starts: whether the user will start the runs next, as with ``launch.check=true``. The model's files must then
            exist, and the memory must suffice.

    Returns:
        the lines of each run's plan.

    Raises:
        ConfigError: lists the problems of all runs.
    """
    plans: list[list[str]] = []
    planned: dict[str, tuple[list[str], Sequence[str]]] = {}
    runs_with: dict[str, list[str]] = {}
    for run in runs:
        settings = _on_machine(settings_of(run), machine)
        key = _without_seed(settings)
        if key not in planned:
            planned[key] = _plan(settings, run, starts=starts)
        lines, problems = planned[key]
        plans.append(lines)
        for problem in problems:
            runs_with.setdefault(problem, []).append(run.folder.name)
    if runs_with:
        raise ConfigError([f"{', '.join(names)}: {text}" for text, names in runs_with.items()])
    return plans


def _plan(settings: DictConfig, run: SweepRun, *, starts: bool) -> tuple[list[str], Sequence[str]]:
    """The lines of a run's plan, and the run's problems."""
    from dramaeval.stages.pipeline import plan_in_process

    try:
        return plan_in_process(settings, run.folder, starts=starts), ()
    except ConfigError as error:
        return [], error.problems
    except UserFacingError as error:
        return [], [str(error)]


def _on_machine(settings: DictConfig, machine: Mapping[str, Any]) -> DictConfig:
    """A copy of a run's settings for a plan on the given machine."""
    settings = settings.copy()
    settings.plan = True
    if settings.processes == 1:
        settings.processes = machine.get("processes", 1)
    described = (settings.plan_device, settings.plan_gpus, settings.plan_memory_gib)
    if settings.device.value == "auto" and not any(described):
        settings.plan_device = machine.get("plan_device")
        settings.plan_memory_gib = machine.get("plan_memory_gib")
    return settings


def _without_seed(settings: DictConfig) -> str:
    """The settings as a text, in which every seed is 0: runs that differ only in their seeds have the same text."""
    plain: Any = OmegaConf.to_container(settings, resolve=True, enum_to_str=True)
    return json.dumps({**plain, "seed": 0}, sort_keys=True, default=str)
