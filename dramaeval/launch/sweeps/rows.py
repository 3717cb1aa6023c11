"""The rows of a sweep's table, from the runs' folders alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dramaeval.data.manifest import damage_of
from dramaeval.launch.sweeps.folder import SweepFolder, SweepRun
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

SPLITS = ("val", "test")
#: Macro Pearson with its interval (value, low, high) by split.
Agreement = Mapping[str, tuple[float | None, float | None, float | None]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run in the table.

    Attributes:
        run: which.
        state: what has become of it.
        agreement: macro Pearson with its interval (value, low, high) after the run's last phase, by split.
        seconds: worked so far.
        outlook: what the cluster says of a run that does not work yet.
    """

    run: SweepRun
    state: RunState
    agreement: Agreement
    seconds: float
    outlook: str = ""

    @property
    def told(self) -> str:
        """The state in words: ``failed: …``, ``running, preempted 2 times``."""
        state = self.state
        times = {
            "preempted": state.preempted,
            "timed out": state.timed_out,
            "restarted": state.restarted,
        }
        counted = [
            f"{name} {count} time{'s' if count > 1 else ''}"
            for name, count in times.items()
            if count
        ]
        reason = f": {state.reason}" if state.reason else ""
        outlook = f" ({self.outlook})" if self.outlook and not state.final else ""
        return ", ".join([f"{state.state}{reason}{outlook}", *counted])


@dataclass(frozen=True)
class Table:
    """All rows, and what follows from them.

    Attributes:
        rows: by number.
        maximize: whether a greater objective is better.
    """

    rows: tuple[Row, ...]
    maximize: bool = True
    best: Row | None = field(init=False)

    def __post_init__(self) -> None:
        done = [row for row in self.rows if row.state.state == DONE]
        found = [(row.state.objective, row) for row in done if row.state.objective is not None]
        best = None
        if found:
            choose = max if self.maximize else min
            best = choose(found, key=lambda pair: pair[0])[1]
        object.__setattr__(self, "best", best)

    @property
    def over(self) -> bool:
        """Whether nothing more happens by itself."""
        return all(row.state.final for row in self.rows)

    @property
    def unfinished(self) -> list[Row]:
        """The runs that have not come to their end."""
        return [row for row in self.rows if row.state.state not in (DONE, PRUNED)]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        names = [row.state.state for row in self.rows]
        return {name: names.count(name) for name in dict.fromkeys(sorted(names))}

    @property
    def keys(self) -> list[str]:
        """The settings that were given to any run, in their order."""
        return list(dict.fromkeys(key for row in self.rows for key in row.run.settings))

    @property
    def varied(self) -> list[str]:
        """Those of them at which the runs differ."""
        return [
            key for key in self.keys if len({row.run.settings.get(key) for row in self.rows}) > 1
        ]


def collect(
    sweep: SweepFolder, outlook: Mapping[int, str] | None = None, *, running: bool = True
) -> Table:
    """Read the table from the folders.

    Args:
        sweep: its folder.
        outlook: what the cluster says of runs, by number.
        running: whether somebody still takes care of runs that have not begun; else they never will.
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
                outlook=(outlook or {}).get(run.number, ""),
            )
        )
    return Table(tuple(rows), maximize=_maximize(sweep.path))


def state_of(run: SweepRun) -> RunState:
    """What has become of a run; unreadable where a file that the table needs is damaged."""
    return _with_damage(run, _agreement(run.folder / "metrics.json")[1])


def _with_damage(run: SweepRun, metrics: str | None) -> RunState:
    state = read_state(run.folder)
    # Damage explains nothing where a run has failed, and a run at work writes its files again.
    problem = run.problem or (metrics if state.state == DONE else None)
    if problem and state.state != RUNNING:
        return replace(state, state=UNREADABLE, reason=problem)
    return state


def _seconds(state: RunState) -> float:
    now = time.time() - state.since if state.state == RUNNING and state.since else 0.0
    return state.seconds + now


def _maximize(path: Path) -> bool:
    """As the search says; agreement is better the greater."""
    import re

    file = path / "multirun.yaml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return re.search(r"^    direction: minimize$", text, re.M) is None


def _agreement(file: Path) -> tuple[Agreement, str | None]:
    """Agreement by split, and why it cannot be read; nothing of both before a run has measured any."""
    if not file.is_file():
        return {}, None
    if damage := damage_of(file):
        return {}, damage
    try:
        return _agreement_in(json.loads(file.read_text(encoding="utf-8"))), None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {}, f"{file.name} is damaged: {type(error).__name__}: {error}"


def _agreement_in(metrics: Mapping[str, Any]) -> Agreement:
    found = {}
    for split in SPLITS:
        phases: Mapping[str, Any] = metrics.get(split) or {}
        last = phases.get("final") or phases.get("zero_shot")
        if last:
            low, high = last["macro"]["interval"].get("pearson") or (None, None)
            found[split] = (last["macro"]["pearson"], low, high)
    return found


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """Runs that differ in their seed alone.

    Attributes:
        settings: what they share, without the seed.
        runs: their numbers; done ones only.
        mean: of their objectives.
        low, high: interval of the mean, from Student's t over the seeds; None for a single one.
    """

    settings: Mapping[str, str]
    runs: Sequence[int]
    mean: float
    low: float | None
    high: float | None


def seed_groups(table: Table, level: float = 0.95) -> list[SeedGroup]:
    """The table grouped by everything but the seed; empty where the seed was not varied."""
    if "seed" not in table.varied:
        return []
    grouped: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in table.rows:
        if row.state.state == DONE and row.state.objective is not None:
            rest = tuple((key, value) for key, value in row.run.settings.items() if key != "seed")
            grouped.setdefault(rest, []).append(row)
    return [
        _group(dict(rest), [(row.run.number, row.state.objective or 0.0) for row in rows], level)
        for rest, rows in grouped.items()
    ]


def _group(settings: dict[str, str], found: list[tuple[int, float]], level: float) -> SeedGroup:
    from math import sqrt
    from statistics import fmean, stdev

    numbers, values = [number for number, _ in found], [value for _, value in found]
    mean = fmean(values)
    if len(values) < 2:
        return SeedGroup(settings=settings, runs=numbers, mean=mean, low=None, high=None)
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return SeedGroup(settings=settings, runs=numbers, mean=mean, low=mean - half, high=mean + half)
