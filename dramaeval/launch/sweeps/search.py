"""``hydra/sweeper=optuna``: Optuna chooses the settings of each run from the objectives of earlier runs.

This sweeper uses Optuna's ask-and-tell interface. The plugin hydra-optuna-sweeper is not used, since it needs Optuna 2,
stops the search at the first run that fails, and cannot prune.
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
from dramaeval.config.sweep_options import SearchOptions
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.state import DONE, PRUNED, read_state, write_sealed
from dramaeval.launch.sweeps.sweeper import SweepRunner

log = logging.getLogger(__name__)

STUDY, JOURNAL = "dramaeval", "study.journal"


class SearchSweeper(SweepRunner):
    """Asks Optuna for the settings of runs, starts the runs, and reports their results to Optuna."""

    OPTIONS = SearchOptions

    def problems(self) -> list[str]:
        """The problems of the sweep's settings, including those of the search."""
        problems = super().problems()
        if self.config.launch.detach:
            problems.append(
                "launch.detach=true is not possible in a search: Optuna chooses each batch from the results of "
                "the earlier ones. Start the search under nohup or in tmux."
            )
        return problems

    def sweep(self, arguments: list[str]) -> None:
        """Search for the settings with the best objective.

        Raises:
            ConfigError: a setting is wrong.
            SystemExit: a run has not finished (code 1).
        """
        if problem := self._parallel_problem():
            raise ConfigError(problem)
        if self.launcher.is_check:
            study = self._study(None)
            batch = [self._ask(study, arguments) for _ in range(self._batch(0))]
            print(f"The first batch of {self.options['n_trials']} runs:")
            self.launcher.launch([job for _, job in batch], 0)
            return
        self._space(arguments)  # problems of the space are reported before a folder is created
        with self.locked_folder():
            self._search(arguments)

    def _parallel_problem(self) -> str | None:
        """The problem if Optuna and the launcher have different numbers of runs at the same time.

        It is not one of `problems`, since a resumed sweep may repeat its runs with another ``hydra.launcher.parallel``.
        """
        jobs, launcher = self.options["n_jobs"], self.launcher.options
        key = "parallel" if "parallel" in launcher else "array_parallelism"
        parallel = launcher[key]
        # A job array of SLURM may be smaller than the largest number of its jobs.
        if jobs == parallel or (key != "parallel" and jobs < parallel):
            return None
        return (
            f"hydra.sweeper.n_jobs={jobs} and hydra.launcher.{key}={parallel}: Optuna would choose {jobs} at a time, and "
            f"{min(jobs, parallel)} would run at the same time. Give both the same value."
        )

    def resume(self, runs: Sequence[SweepRun]) -> None:
        """Start the unfinished runs again, then continue the search.

        Raises:
            SystemExit: a run has not finished (code 1).
        """
        from optuna.trial import TrialState

        study = self._study(self.folder.path)
        # With its original seed the sampler would repeat the settings of the first runs.
        study.sampler.reseed_rng()
        arguments = list(map(str, self.config.hydra.overrides.task))
        trials = study.trials
        for run in self.folder.runs():
            number = _trial_of(run)
            if number is None:
                continue
            is_lost = number >= len(trials)  # the journal was removed, and this one is new
            trial = self._ask_again(study, arguments, run) if is_lost else trials[number]
            is_reported = trial.state is not TrialState.RUNNING
            if run not in runs:
                if not is_reported and read_state(run.folder).final:
                    _tell(study, run)  # the earlier search ended before it could report the run
            elif is_reported:
                # Optuna keeps the failed trial; the repeated run becomes a new trial.
                study.enqueue_trial(trial.params)
                _write_trial(run, study.ask(trial.distributions))
        if runs:
            self.launcher.run(runs)
        for run in runs:
            _tell(study, run)
        self._search(arguments)

    def _search(self, arguments: list[str]) -> None:
        study = self._study(self.folder.path)
        print(f"Search in {self.folder.path}", flush=True)
        while count := self._batch(first := len(self.folder.runs())):
            batch = [self._ask(study, arguments) for _ in range(count)]
            runs = self.folder.add(self.context, self.config, [job for _, job in batch], first)
            for (trial, _), run in zip(batch, runs, strict=True):
                _write_trial(run, trial)
            self.launcher.run(runs)
            has_untried = [_tell(study, run) for run in runs]
            if not all(has_untried):
                print("Every combination was tried.")
                break
        self.end()

    def _ask_again(self, study: Any, arguments: Sequence[str], run: SweepRun) -> Any:
        """A new trial with the settings of an existing run, whose trial the study does not have.

        Every such run gets one: the number of its former trial becomes that of another run.
        """
        from optuna.distributions import CategoricalDistribution

        space, _ = self._space(arguments)
        chosen = {key: space[key] for key in run.settings if key in space}
        values: dict[str, Any] = {}
        for key, kind in chosen.items():
            text = run.settings[key]
            # A category is the text of the override; the others are numbers.
            is_text = isinstance(kind, CategoricalDistribution)
            values[key] = text if is_text else kind.to_external_repr(float(text))
        study.enqueue_trial(values)
        trial = study.ask(chosen)
        _write_trial(run, trial)
        return study.trials[trial.number]

    def _batch(self, started: int) -> int:
        """The number of runs in the next batch."""
        return max(0, min(self.options["n_jobs"], self.options["n_trials"] - started))

    def _study(self, folder: Path | None) -> Any:
        """Create or load the study in a sweep's folder; without a folder, the study is in memory.

        Raises:
            DamagedFileError: the journal is damaged.
        """
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
                # Hydra creates the sampler and the pruner when it creates this sweeper.
                sampler=self.options["sampler"],
                pruner=self.options["pruner"],
            )

    def _space(self, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """The search space as Optuna's distributions, and the overrides that all runs share.

        Raises:
            ConfigError: lists all problems.
        """
        space, fixed, problems = {}, [], []
        for override in self.overrides(arguments):
            key = override.get_key_element()
            if not override.is_sweep_override():
                fixed.append(f"{key}={override.get_value_element_as_str()}")
                continue
            try:
                space[key] = distribution(override)
            except ValueError as error:
                problems.append(f"{key}: {error}")
        if not space:
            problems.append(
                "There is nothing to search: give search=lora, or a setting such as "
                "trainer.args.learning_rate='interval(1e-4, 1e-2)'."
            )
        if problems:
            raise ConfigError(problems)
        return space, fixed

    def _ask(self, study: Any, arguments: Sequence[str]) -> tuple[Any, list[str]]:
        """A new trial, and the overrides of its run."""
        space, fixed = self._space(arguments)
        trial = study.ask(space)
        return trial, [*fixed, *(f"{key}={value}" for key, value in trial.params.items())]


def journal(folder: Path) -> Any:
    """Optuna's storage in a sweep's folder: a file to which lines are appended, which shared file systems allow."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def drop_torn_line(folder: Path) -> None:
    """Remove the last line of a journal if a process was killed before it had written the line completely.

    Optuna ignores an incomplete line, but appends the next line to it and then cannot read the result.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    file = folder / JOURNAL
    if not file.is_file():
        return
    lock = JournalFileSymlinkLock(str(file))
    lock.acquire()
    try:
        content = file.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            log.warning("%s: the last line is incomplete and is dropped.", file)
            os.truncate(file, complete)
    finally:
        lock.release()


@contextmanager
def readable_journal(folder: Path | None) -> Iterator[None]:
    """Turn the various errors that Optuna raises for a damaged journal into one.

    Raises:
        DamagedFileError: Optuna cannot read the journal.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        if folder is None or not (folder / JOURNAL).is_file():
            raise
        raise DamagedFileError(
            f"{folder / JOURNAL} is damaged: Optuna cannot read it ({type(error).__name__}: {error}). Restore "
            "it from a copy, or remove it; resume=true then makes a new one from the results of the existing runs."
        ) from error


def distribution(override: Override) -> Any:
    """Optuna's distribution for an override with several values.

    Raises:
        ValueError: an interval is empty or unbounded.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or low >= high:
            raise ValueError("an interval needs a lower and a greater upper end.")
        integers = isinstance(low, int) and isinstance(high, int)
        kind: Any = IntDistribution if integers else FloatDistribution
        return kind(low, high, log="log" in value.tags)
    choices = override.sweep_string_iterator()
    if isinstance(value, RangeSweep) and not value.shuffle:
        choices = map(str, choices)
    return CategoricalDistribution(list(choices))


def _write_trial(run: SweepRun, trial: Any) -> None:
    write_sealed(run.folder / "trial.json", {"trial": trial.number})


def _trial_of(run: SweepRun) -> int | None:
    """The number of a run's trial; None if ``trial.json`` is absent or damaged."""
    try:
        return int(read_sealed(run.folder / "trial.json", ("trial",))["trial"])
    except (FileNotFoundError, DamagedFileError, KeyError) as error:
        log.warning("%s: the search cannot use the result of this run: %s.", run.folder.name, error)
        return None


def _tell(study: Any, run: SweepRun) -> bool:
    """Report the result of a run to Optuna; returns False if all combinations were tried."""
    from optuna.trial import TrialState

    state = read_state(run.folder)
    result: dict[str, Any] = {"state": TrialState.FAIL}
    if state.state == PRUNED:
        result = {"state": TrialState.PRUNED}
    elif state.state == DONE and state.objective is not None:
        result = {"values": state.objective}
    elif state.state == DONE:
        log.warning("%s returned no objective: it counts as failed.", run.folder.name)
    number = _trial_of(run)
    if number is None:
        return True
    try:
        study.tell(number, **result)
    except RuntimeError as error:
        # A sampler that has tried all combinations calls Study.stop, which fails outside Optuna's own loop. The
        # trial is written before that.
        if "Study.stop" not in str(error):
            raise
        return False
    return True
