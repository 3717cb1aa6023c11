"""A run of a search tells Optuna of each validation, and ends early where it is not promising."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from transformers import TrainerCallback

from dramaeval.config.literal import instantiate
from dramaeval.config.problems import ConfigError
from dramaeval.config.trust import targets_of
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.distributed.processes import Processes
from dramaeval.launch.sweeps.signature import unsigned
from dramaeval.launch.sweeps.state import Pruned

log = logging.getLogger(__name__)


def pruning(folder: Path, processes: Processes, args: Any) -> list[Any]:
    """The callback of a run that belongs to a search; none for others.

    Args:
        folder: of the run.
        processes: that train together.
        args: the trainer's, which say what is validated.
    """
    if not processes.broadcast(processes.is_rank_zero and _is_of_a_search(folder)):
        return []
    return [PruningCallback(folder, processes, args.metric_for_best_model or "pearson")]


def _is_of_a_search(folder: Path) -> bool:
    try:
        return "trial" in read_sealed(folder / "trial.json", ("trial",))
    except FileNotFoundError:
        return False
    except DamagedFileError as error:
        log.warning("%s: the run is not pruned, since its trial is not known: %s.", folder, error)
        return False


def pruner_of(sweep: Path) -> Any:
    """The pruner of a search, as its ``multirun.yaml`` describes it.

    Raises:
        ConfigError: another account wrote the file, and it names something other than Optuna's pruners.
    """
    from dramaeval.launch.sweeps.folder import OF_SWEEP, SweepFolder

    master: Any = SweepFolder(sweep).master()
    if not unsigned(sweep, OF_SWEEP):
        return instantiate(master.hydra.sweeper.pruner)
    values: Any = OmegaConf.to_container(master, resolve=False)
    values = values["hydra"]["sweeper"]["pruner"]
    foreign = [f"{key}={name}" for key, name in targets_of(values) if not _is_optunas(name)]
    if foreign:
        raise ConfigError(
            [
                f"{sweep / OF_SWEEP[0]} was not written by this account, or was changed since, and its pruner "
                f"has {', '.join(foreign)}, which is none of optuna.pruners: it is not run. If you trust it: "
                f"python launch.py sweep={sweep} resume=true launch.trust=true."
            ]
        )
    return instantiate(values)


def _is_optunas(name: Any) -> bool:
    import optuna

    module, _, last = str(name).rpartition(".")
    kind = getattr(optuna.pruners, last, None) if module == "optuna.pruners" else None
    return isinstance(kind, type) and issubclass(kind, optuna.pruners.BasePruner)


class PruningCallback(TrainerCallback):
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

        from dramaeval.launch.sweeps.search import STUDY, journal

        about = read_sealed(self.folder / "trial.json", ("trial",))
        study = optuna.load_study(
            study_name=STUDY,
            storage=journal(self.folder.parent),
            pruner=pruner_of(self.folder.parent),
        )
        return optuna.trial.Trial(study, study.trials[about["trial"]]._trial_id)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Report; the step is Optuna's step too."""
        value = (metrics or {}).get(self.metric)
        given_up = False
        if self.processes.is_rank_zero and value is not None:
            self.trial.report(value, state.global_step)
            given_up = self.trial.should_prune()
        if self.processes.broadcast(given_up):
            raise Pruned(f"at step {state.global_step} with {self.metric} {value:.3f}", value)
