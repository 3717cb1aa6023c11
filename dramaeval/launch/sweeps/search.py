"""``hydra/sweeper=optuna``: Optuna chooses the runs, from the objectives of those before.

Optuna itself, by its ask-and-tell interface: the hydra-optuna-sweeper plugin is bound to Optuna 2, stops the
search at the first run that fails, and cannot prune.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.state import DONE, PRUNED, read_state, write_sealed
from dramaeval.launch.sweeps.sweeper import SweepRunner
from dramaeval.stages.user_errors import user_facing_errors

log = logging.getLogger(__name__)

STUDY, JOURNAL = "dramaeval", "study.journal"
_DIRECTIONS = ("maximize", "minimize")


class SearchSweeper(SweepRunner):
    """Asks Optuna for settings, carries them out, tells it what came of them."""

    OPTIONS = ("params", "n_trials", "n_jobs", "direction", "sampler", "pruner")

    def problems(self) -> list[str]:
        """What of the settings cannot be done."""
        found = super().problems()
        for name in ("n_trials", "n_jobs"):
            value = self.options.get(name)
            if not isinstance(value, int) or value < 1:
                found.append(f"hydra.sweeper.{name}={value} must be a whole number of 1 or more.")
        if self.options.get("direction") not in _DIRECTIONS:
            found.append(
                f"hydra.sweeper.direction={self.options.get('direction')} is not known; choose one of "
                f"{', '.join(_DIRECTIONS)}."
            )
        if self.config.launch.detach:
            found.append(
                "launch.detach=true is not possible in a search: each batch is chosen from what came of those "
                "before. Start it under nohup or in tmux."
            )
        return found

    def sweep(self, arguments: list[str]) -> Any:
        """Search.

        Raises:
            SystemExit: 1 at the end, if a run failed.
        """
        if self.launcher.checks:
            study = self._study(None)
            batch = [self._ask(study, arguments) for _ in range(self._batch(0))]
            print(f"The first batch of {self.options['n_trials']} runs:")
            self.launcher.launch([job for _, job in batch], 0)
            return
        self._space(arguments)  # its problems, before a folder is made
        with self.alone():
            self._search(arguments)

    def go_on(self, runs: Sequence[SweepRun]) -> None:
        """Carry out again what has not finished, then search on."""
        import optuna

        study = self._study(self.folder.path)
        # Its seed would give the settings of the first runs once more.
        study.sampler.reseed_rng()
        for run in self.folder.runs():
            number = _trial_of(run)
            if number is None:
                continue
            trial = study.trials[number]
            open_yet = trial.state is optuna.trial.TrialState.RUNNING
            if run not in runs:
                if open_yet and read_state(run.folder).final:
                    _tell(study, run)  # whoever searched before was gone by then
            elif not open_yet:
                # What was told to have failed stays so for Optuna; the run counts as a new trial.
                study.enqueue_trial(trial.params)
                _name_trial(run, study.ask(trial.distributions).number)
        if runs:
            self.launcher.carry_out(runs)
        for run in runs:
            _tell(study, run)
        self._search([str(one) for one in self.config.hydra.overrides.task])

    def _search(self, arguments: list[str]) -> None:
        study = self._study(self.folder.path)
        print(f"Search in {self.folder.path}", flush=True)
        while count := self._batch(len(self.folder.runs())):
            first = len(self.folder.runs())
            batch = [self._ask(study, arguments) for _ in range(count)]
            with user_facing_errors():
                runs = self.launcher.folder.add(
                    self.context, self.config, [job for _, job in batch], first
                )
                for (trial, _), run in zip(batch, runs, strict=True):
                    _name_trial(run, trial.number)
                self.launcher.carry_out(runs)
            more = [_tell(study, run) for run in runs]
            if not all(more):
                print("Every combination was tried.")
                break
        self.close()

    def _batch(self, done: int) -> int:
        return max(0, min(self.options["n_jobs"], self.options["n_trials"] - done))

    def _study(self, folder: Path | None) -> Any:
        """The study in a sweep's folder, begun or taken up; None keeps it in memory."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if folder:
            drop_torn_line(folder)
        with readable_journal(folder):
            return optuna.create_study(
                study_name=STUDY,
                storage=journal(folder) if folder else None,
                direction=self.options["direction"],
                load_if_exists=True,
                # Hydra has made them when it made this sweeper.
                sampler=self.options["sampler"],
                pruner=self.options["pruner"],
            )

    def _space(self, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """What is searched, as Optuna's distributions, and the overrides that stay."""
        space, fixed, problems = {}, [], []
        for one in self.overrides(arguments):
            if not one.is_sweep_override():
                fixed.append(f"{one.get_key_element()}={one.get_value_element_as_str()}")
                continue
            try:
                space[one.get_key_element()] = distribution(one)
            except ValueError as error:
                problems.append(f"{one.get_key_element()}: {error}")
        if not space:
            problems.append(
                "There is nothing to search: give search=lora, or a setting as "
                "trainer.args.learning_rate='interval(1e-4, 1e-2)'."
            )
        if problems:
            with user_facing_errors():
                raise ConfigError(problems)
        return space, fixed

    def _ask(self, study: Any, arguments: Sequence[str]) -> tuple[Any, list[str]]:
        """A new trial and the overrides of its run."""
        space, fixed = self._space(arguments)
        trial = study.ask(space)
        return trial, [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]


def journal(folder: Path) -> Any:
    """Optuna's storage in a sweep's folder; a file that grows line by line, also on a shared file system."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def drop_torn_line(folder: Path) -> None:
    """Remove a journal's last line where a kill has cut it off.

    Optuna reads past it, but appends the next line to what is left of it, and cannot read that.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    file = folder / JOURNAL
    if not file.is_file():
        return
    lock = JournalFileSymlinkLock(str(file))
    lock.acquire()
    try:
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("%s: its last line was not written to the end and is dropped.", file)
            os.truncate(file, whole)
    finally:
        lock.release()


@contextmanager
def readable_journal(folder: Path | None) -> Iterator[None]:
    """Say in words that a journal is damaged; Optuna runs into whatever a changed line leads to.

    Raises:
        DamagedFileError: it is.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        if folder is None or not (folder / JOURNAL).is_file():
            raise
        raise DamagedFileError(
            f"{folder / JOURNAL} is damaged: Optuna cannot read it ({type(error).__name__}: {error}). Restore "
            "it from a copy, or remove it to search anew; the runs that are there keep their results."
        ) from error


def distribution(override: Override) -> Any:
    """Optuna's distribution for a swept override.

    Raises:
        ValueError: it has none.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or low >= high:
            raise ValueError("an interval needs a lower and a greater upper end.")
        whole = isinstance(low, int) and isinstance(high, int)
        kind: Any = IntDistribution if whole else FloatDistribution
        return kind(low, high, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        return CategoricalDistribution([str(one) for one in override.sweep_string_iterator()])
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _name_trial(run: SweepRun, number: int) -> None:
    """Let a run know which trial of the study it is."""
    write_sealed(run.folder / "trial.json", {"trial": number})


def _trial_of(run: SweepRun) -> int | None:
    """Which trial of the study a run is; None where that is not known any more."""
    try:
        return int(read_sealed(run.folder / "trial.json", ("trial",))["trial"])
    except (FileNotFoundError, DamagedFileError, KeyError) as error:
        log.warning("%s: the search does not learn from this run: %s.", run.folder.name, error)
        return None


def _tell(study: Any, run: SweepRun) -> bool:
    """Tell Optuna what came of a run; returns whether there is more to try."""
    from optuna.trial import TrialState

    state = read_state(run.folder)
    told: dict[str, Any] = {"state": TrialState.FAIL}
    if state.state == PRUNED:
        told = {"state": TrialState.PRUNED}
    elif state.state == DONE and state.objective is not None:
        told = {"values": state.objective}
    elif state.state == DONE:
        log.warning("%s returned no objective: it counts as failed.", run.folder.name)
    number = _trial_of(run)
    if number is None:
        return True
    try:
        study.tell(number, **told)
    except RuntimeError as error:
        # A sampler that has tried everything asks Optuna's own loop to stop; the trial is written by then.
        if "Study.stop" not in str(error):
            raise
        return False
    return True
