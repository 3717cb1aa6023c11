"""Launchers, behind ``hydra/launcher=…``: each run of a sweep gets a folder, and a crew carries it out."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from dramaeval import startup
from dramaeval.config.problems import ConfigError
from dramaeval.distributed.processes import started_by_launcher
from dramaeval.launch.runner import DetachedSweep, JobRunner, watch
from dramaeval.launch.sweeps.folder import SweepFolder, SweepRun
from dramaeval.launch.sweeps.state import DONE, PRUNED, read_state
from dramaeval.stages.user_errors import user_facing_errors


class RunFailedError(RuntimeError):
    """A run of a sweep has no result; the message is its state."""


class SweepLauncher(Launcher, ABC):
    """What all our launchers share.

    Args:
        options: of ``hydra.launcher``.
    """

    #: What an option may be, by name.
    KINDS: Mapping[str, str] = {}

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {
            name: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for name, value in options.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take over what Hydra has composed, and check it.

        Raises:
            SystemExit: with everything that is wrong.
        """
        self.context, self.config = hydra_context, config
        self.folder = SweepFolder(Path(str(config.hydra.sweep.dir)))
        with user_facing_errors():
            for line in startup.prepare():
                print(line)
            problems = [*self.problems(), *option_problems(self.options, self.KINDS)]
            if problems:
                raise ConfigError(problems)

    def problems(self) -> list[str]:
        """What of the sweep's settings cannot be done."""
        hydra, found = self.config.hydra, []
        if started_by_launcher():
            found.append(
                "A sweep starts its processes itself: python launch.py -m processes=N …, without torchrun."
            )
        if hydra.job.chdir:
            found.append("hydra.job.chdir=true is not possible in a sweep: leave it false.")
        if set(hydra.get("callbacks") or {}) - {"run_folder", "lock_folder"}:
            found.append("hydra.callbacks do not reach the runs of a sweep: leave them out.")
        if self.config.plan:
            found.append("plan=true is for one run: leave out -m, or use launch.check=true.")
        return found

    @abstractmethod
    def job_runner(self) -> JobRunner:
        """Who carries runs out."""

    @abstractmethod
    def preview(self, runs: Sequence[SweepRun]) -> str:
        """What would be sent off, as text."""

    @property
    def checks(self) -> bool:
        """Whether nothing is to be sent off."""
        return bool(self.config.launch.check)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Carry out runs, as Hydra's sweepers ask for it."""
        with user_facing_errors():
            runs = self.folder.add(
                self.context, self.config, job_overrides, initial_job_idx, write=not self.checks
            )
            if self.checks:
                print(self.preview(runs))
                return []
            if not initial_job_idx:
                print(f"Sweep in {self.folder.path}", flush=True)
            return self.carry_out(runs)

    def carry_out(self, runs: Sequence[SweepRun]) -> list[JobReturn]:
        """Carry out runs whose folders are there.

        Raises:
            SystemExit: 0 where the jobs were left to themselves, as asked.
        """
        job_runner = self.job_runner()
        try:
            watch(job_runner, self.folder, runs, detach=bool(self.config.launch.detach))
        except DetachedSweep as left:
            print(left)
            raise SystemExit(left.code) from None
        return [result(run) for run in runs]


def result(run: SweepRun) -> JobReturn:
    """What came of a run, for Hydra."""
    state = read_state(run.folder)
    came = JobReturn(overrides=list(run.overrides), working_dir=os.getcwd())
    if state.state in (DONE, PRUNED):
        came.status, came.return_value = JobStatus.COMPLETED, state.objective
    else:
        came.status = JobStatus.FAILED
        came.return_value = RunFailedError(
            f"{run.folder.name}: {state.state}" + (f": {state.reason}" if state.reason else "")
        )
    return came


def option_problems(options: Mapping[str, Any], kinds: Mapping[str, str]) -> list[str]:
    """Options that a launcher does not know or cannot use, each with the valid ones."""
    problems = []
    for name, value in options.items():
        key = f"hydra.launcher.{name}"
        if name not in kinds:
            near = get_close_matches(name, kinds, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            problems.append(
                f"{key} is not an option of this launcher.{hint} Valid are {', '.join(kinds)}."
            )
        elif wrong := _wrong(value, kinds[name]):
            problems.append(f"{key}={value!r} must be {wrong}.")
    problems += [f"hydra.launcher.{name} is missing." for name in kinds if name not in options]
    return problems


def _wrong(value: Any, kind: str) -> str | None:
    """What a value should be, if it is not."""
    base, optional = kind.rstrip("?"), kind.endswith("?")
    if value is None:
        return None if optional else _WORDS[base]
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        "text": isinstance(value, str) and value.isprintable(),
        "positive": whole and value >= 1,
        "count": whole and value >= 0,
        "seconds": (whole or isinstance(value, float)) and value > 0,
        "amount": (whole or isinstance(value, float)) and value > 0,
        "texts": isinstance(value, list)
        and all(isinstance(one, str) and one.isprintable() for one in value),
        "options": isinstance(value, dict)
        and all(
            isinstance(one, str | int | float | bool) and str(one).isprintable()
            for one in value.values()
        ),
    }
    return None if fits[base] else _WORDS[base] + (" or null" if optional else "")


_WORDS = {
    "text": "one line of text",
    "positive": "a whole number of 1 or more",
    "count": "a whole number of 0 or more",
    "seconds": "a number of seconds above 0",
    "amount": "a number above 0",
    "texts": "a list of texts of one line each",
    "options": "options by name, each with a number or one line of text, as {reservation: x}",
}


def import_path() -> list[str]:
    """Where modules beside launch.py can be imported from, in a run too."""
    return [one for one in sys.path[:1] if one]
