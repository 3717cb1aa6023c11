"""The rows of a sweep's table, read from the folders of its runs."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from dramaeval.config.task_schema import held_out_splits
from dramaeval.data.manifest import damage_of
from dramaeval.data.problems import counted
from dramaeval.launch.sweeps.folder import SweepFolder, SweepRun
from dramaeval.launch.sweeps.joining import progress_of, total_text
from dramaeval.launch.sweeps.state import (
    DONE,
    NEVER,
    PRUNED,
    RUNNING,
    UNREADABLE,
    WAITING,
    RunState,
    read_state,
)

#: Splits that always have columns in ``sweep.csv``; named test sets add columns.
SPLITS = ("val", "test")
#: Macro Pearson with its interval: value, low, high.
Figures = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run in the table.

    Attributes:
        run: the run.
        state: its state.
        agreement: the macro Pearson by split, after the run's last phase.
        seconds: the working time so far.
        queue_state: SLURM's state of the run's job if it has not ended; empty without SLURM or if unknown.
        progress: the progress of a shard, see `dramaeval.launch.sweeps.joining.progress_of`; empty for other runs.
    """

    run: SweepRun
    state: RunState
    agreement: Mapping[str, Figures]
    seconds: float
    queue_state: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, keys: Sequence[str]) -> dict[str, str]:
        """The run's values of settings by key; empty if the run does not override a setting."""
        return {key: self.run.settings.get(key, "") for key in keys}

    def agreement_on(self, split: str) -> Figures:
        """The macro Pearson on a split; three times None if the run has none."""
        return self.agreement.get(split, (None, None, None))

    @property
    def description(self) -> str:
        """The state as text, such as ``running, preempted 2 times``."""
        state = self.state
        reason = f": {state.reason}" if state.reason else ""
        queued = f" ({self.queue_state})" if self.queue_state and not state.final else ""
        times = {
            "preempted": state.preempted,
            "timed out": state.timed_out,
            "restarted": state.restarted,
        }
        counts = [f"{name} {counted(count, 'time')}" for name, count in times.items() if count]
        return ", ".join([f"{state.state}{reason}{queued}", *counts])


@dataclass(frozen=True)
class Table:
    """All rows, and the figures that are computed from them.

    Attributes:
        rows: the rows in the order of the runs' numbers.
        maximize: whether a greater objective is better.
    """

    rows: tuple[Row, ...]
    maximize: bool = True

    @cached_property
    def best(self) -> SeedGroup | None:
        """The settings with the best mean objective over their seeds; None if no run has an objective.

        If the numbers of finished seeds differ, only settings with the most seeds are compared, since the mean of
        fewer seeds is more often high or low by chance.
        """
        groups = seed_groups(self) or [
            _group({}, [(row.run.number, row.state.objective)])
            for row in self.rows
            if row.state.state == DONE and row.state.objective is not None
        ]
        most = max((len(group.runs) for group in groups), default=0)
        compared = [group for group in groups if len(group.runs) == most]
        choose = max if self.maximize else min
        return choose(compared, key=lambda group: group.mean) if compared else None

    def is_best(self, row: Row) -> bool:
        """Whether a run has the best settings."""
        return self.best is not None and row.run.number in self.best.runs

    @property
    def unfinished(self) -> list[Row]:
        """The runs that are neither done nor pruned."""
        return [row for row in self.rows if row.state.state not in (DONE, PRUNED)]

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state."""
        return dict(sorted(Counter(row.state.state for row in self.rows).items()))

    @cached_property
    def shards(self) -> str:
        """The progress of all shards as text; empty for a sweep without shards."""
        begun = [row for row in self.rows if row.progress]
        running = [row.state.state == RUNNING for row in begun]
        return total_text([row.progress for row in begun], running, len(self.rows))

    @cached_property
    def splits(self) -> list[str]:
        """The splits on which at least one run was evaluated: val, then the test sets."""
        return held_out_splits(dict.fromkeys(split for row in self.rows for split in row.agreement))

    @cached_property
    def keys(self) -> list[str]:
        """The overridden settings of all runs, in order."""
        return list(dict.fromkeys(key for row in self.rows for key in row.run.settings))

    @cached_property
    def varied(self) -> list[str]:
        """The overridden settings whose values differ between the runs."""
        return [
            key for key in self.keys if len({row.run.settings.get(key) for row in self.rows}) > 1
        ]

    @cached_property
    def common(self) -> dict[str, str]:
        """The overridden settings that all runs share."""
        return {key: self.rows[0].run.settings[key] for key in self.keys if key not in self.varied}


def collect(
    sweep: SweepFolder, queue_states: Mapping[int, str] | None = None, *, running: bool = True
) -> Table:
    """Read the table from the folders of the runs.

    Args:
        queue_states: SLURM's states of the runs, by number.
        running: whether a process or SLURM can still start the waiting runs; if not, their state is "never started".
    """
    rows = []
    for run in sweep.runs():
        agreement, damage = _agreement(run.folder / "metrics.json")
        state = _with_damage(run, damage)
        if state.state == WAITING and not running:
            state = state.ended(NEVER)
        rows.append(
            Row(
                run=run,
                state=state,
                agreement=agreement,
                seconds=_seconds(state),
                queue_state=(queue_states or {}).get(run.number, ""),
                progress=progress_of(run.folder) if "shard" in run.settings else {},
            )
        )
    return Table(tuple(rows), maximize=_maximize(sweep.path))


def state_of(run: SweepRun) -> RunState:
    """The state of a run; ``unreadable`` if a file that the table needs is damaged."""
    return _with_damage(run, _agreement(run.folder / "metrics.json")[1])


def _with_damage(run: SweepRun, metrics: str | None) -> RunState:
    state = read_state(run.folder)
    # A failed run keeps its reason, and a running run writes its files again.
    problem = run.problem or (metrics if state.state == DONE else None)
    if problem and state.state != RUNNING:
        return replace(state, state=UNREADABLE, reason=problem)
    return state


def _seconds(state: RunState) -> float:
    now = time.time() - state.since if state.state == RUNNING and state.since else 0.0
    return state.seconds + now


def _maximize(path: Path) -> bool:
    """Whether the sweep maximises its objective; only a search with ``direction: minimize`` does not."""
    file = path / "multirun.yaml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return re.search(r"^    direction: minimize$", text, re.M) is None


def _agreement(file: Path) -> tuple[Mapping[str, Figures], str | None]:
    """The agreement by split, and the reason if the file is damaged; without a file, an empty agreement and None."""
    if not file.is_file():
        return {}, None
    if damage := damage_of(file):
        return {}, damage
    try:
        return _agreement_in(json.loads(file.read_text(encoding="utf-8"))), None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, f"{file.name} is damaged: {type(error).__name__}: {error}"


def _agreement_in(metrics: Mapping[str, Any]) -> dict[str, Figures]:
    agreement: dict[str, Figures] = {}
    for split in held_out_splits(metrics):
        phases: Mapping[str, Any] = metrics.get(split) or {}
        if last := phases.get("final") or phases.get("zero_shot"):
            low, high = last["macro"]["interval"].get("pearson") or (None, None)
            agreement[split] = (last["macro"]["pearson"], low, high)
    return agreement


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """Finished runs that differ only in their seed.

    Attributes:
        settings: the settings in which they differ from the sweep's other runs, without the seed.
        runs: the numbers of the runs.
        mean: the mean of their objectives.
        low, high: 95 % confidence interval of the mean, from Student's t over the seeds; None for a single run.
    """

    settings: Mapping[str, str]
    runs: Sequence[int]
    mean: float
    low: float | None
    high: float | None


def seed_groups(table: Table) -> list[SeedGroup]:
    """The finished runs grouped by their settings without the seed; empty if the seed does not vary."""
    if "seed" not in table.varied:
        return []
    grouped: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in table.rows:
        if row.state.state == DONE and row.state.objective is not None:
            rest = tuple(
                (key, value)
                for key, value in row.run.settings.items()
                if key != "seed" and key in table.varied
            )
            grouped.setdefault(rest, []).append(row)
    return [
        _group(dict(rest), [(row.run.number, row.state.objective or 0.0) for row in rows])
        for rest, rows in grouped.items()
    ]


def _group(settings: dict[str, str], runs: list[tuple[int, float]]) -> SeedGroup:
    numbers, values = [number for number, _ in runs], [value for _, value in runs]
    mean, low, high = fmean(values), None, None
    if len(values) > 1:
        from scipy.stats import t

        half = float(t.ppf((1 + 0.95) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
        low, high = mean - half, mean + half
    return SeedGroup(settings=settings, runs=numbers, mean=mean, low=low, high=high)
