"""A run of a search tells Optuna of each validation, and ends early where it is not promising."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from dramaeval.cluster.processes import Processes
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.sweep.state import Pruned

log = logging.getLogger(__name__)


def pruning(folder: Path, processes: Processes, args: Any) -> list[Any]:
    """The callback of a run that belongs to a search; none for others.

    Args:
        folder: of the run.
        processes: that train together.
        args: the trainer's, which say what is validated.
    """
    if not processes.agree(processes.first and _is_of_a_search(folder)):
        return []
    return [Pruning(folder, processes, args.metric_for_best_model or "pearson")]


def _is_of_a_search(folder: Path) -> bool:
    try:
        return "trial" in read_sealed(folder / "trial.json", ("trial",))
    except FileNotFoundError:
        return False
    except DamagedFileError as error:
        log.warning("%s: the run is not pruned, since its trial is not known: %s.", folder, error)
        return False


class Pruning(TrainerCallback):
    """Reports ``eval_<metric>`` to the run's trial; when the study's pruner gives it up, the run ends.

    Args:
        folder: of the run; ``trial.json`` says which trial it is.
        processes: that train together; the first alone speaks with Optuna.
        metric: the figure by which runs are compared.
    """

    def __init__(self, folder: Path, processes: Processes, metric: str) -> None:
        self.folder, self.processes = folder, processes
        self.metric = f"eval_{metric.removeprefix('eval_')}"
        self._open: Any = None

    @property
    def trial(self) -> Any:
        """Optuna's trial, taken up when it is first needed."""
        if self._open is None:
            self._open = self._take_up()
        return self._open

    def _take_up(self) -> Any:
        import optuna
        from hydra.utils import instantiate

        from dramaeval.sweep.folder import SweepFolder
        from dramaeval.sweep.search import STUDY, journal

        about = read_sealed(self.folder / "trial.json", ("trial",))
        pruner = SweepFolder(self.folder.parent).master().hydra.sweeper.pruner
        study = optuna.load_study(
            study_name=STUDY,
            storage=journal(self.folder.parent),
            pruner=instantiate(pruner, _convert_="all"),
        )
        return optuna.trial.Trial(study, study.trials[about["trial"]]._trial_id)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Report; the step is Optuna's step too."""
        value = (metrics or {}).get(self.metric)
        given_up = False
        if self.processes.first and value is not None:
            self.trial.report(value, state.global_step)
            given_up = self.trial.should_prune()
        if self.processes.agree(given_up):
            raise Pruned(f"at step {state.global_step} with {self.metric} {value:.3f}", value)
