"""Reports each validation of a run to its search, and ends the run if the search prunes it."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from transformers import TrainerCallback

from dramaeval.compat.optuna import resume_trial
from dramaeval.config.config_folder import command_name
from dramaeval.config.keys import targets_in
from dramaeval.config.literal import instantiate
from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.distributed.processes import Processes
from dramaeval.launch.sweeps.signature import unsigned
from dramaeval.launch.sweeps.state import Pruned

log = logging.getLogger(__name__)


def pruning(folder: Path, processes: Processes, args: Any) -> list[Any]:
    """The callback of a run that belongs to a search, in a list; an empty list for other runs.

    Args:
        args: the trainer's arguments, which name the metric.
    """
    if not processes.from_rank_zero(lambda: _belongs_to_search(folder)):
        return []
    return [PruningCallback(folder, processes, args.metric_for_best_model or "pearson")]


def _belongs_to_search(folder: Path) -> bool:
    try:
        return "trial" in read_sealed(folder / "trial.json", ("trial",))
    except FileNotFoundError:
        return False
    except DamagedFileError as error:
        log.warning("%s: the run cannot be pruned, since its trial is unknown: %s.", folder, error)
        return False


def pruner_of(sweep: Path) -> Any:
    """The pruner that ``multirun.yaml`` of a search describes.

    Raises:
        ConfigError: the file has no signature of this account, and the pruner is not one of Optuna's.
        DamagedFileError: the file is damaged.
    """
    from dramaeval.launch.sweeps.folder import OF_SWEEP, SweepFolder

    master: Any = SweepFolder(sweep).master()
    if not unsigned(sweep, OF_SWEEP):
        return instantiate(master.hydra.sweeper.pruner)
    values: Any = OmegaConf.to_container(master, resolve=False)
    values = values["hydra"]["sweeper"]["pruner"]
    foreign = [f"{key}={name}" for key, name in targets_in(values) if not _is_optuna_pruner(name)]
    if foreign:
        raise ConfigError(
            f"{sweep / OF_SWEEP[0]} was not written by this account, or was changed since, and its pruner "
            f"has {', '.join(foreign)}, which is none of optuna.pruners: it is not run. If you trust it: "
            f"{command_name()} sweep={sweep} resume=true launch.trust=true."
        )
    return instantiate(values)


def _is_optuna_pruner(name: Any) -> bool:
    import optuna

    module, _, last = str(name).rpartition(".")
    kind = getattr(optuna.pruners, last, None) if module == "optuna.pruners" else None
    return isinstance(kind, type) and issubclass(kind, optuna.pruners.BasePruner)


class PruningCallback(TrainerCallback):
    """Reports ``eval_<metric>`` to the run's trial, and ends the run if the study's pruner prunes the trial.

    Args:
        folder: the run folder, in which ``trial.json`` holds the number of the trial.
        processes: the processes of the training, of which only rank 0 uses Optuna.
        metric: the metric that the search optimises, with or without ``eval_``.
    """

    def __init__(self, folder: Path, processes: Processes, metric: str) -> None:
        self.folder, self.processes = folder, processes
        self.metric = f"eval_{metric.removeprefix('eval_')}"

    @cached_property
    def trial(self) -> Any:
        """The run's trial in Optuna's study."""
        import optuna

        from dramaeval.launch.sweeps.search import STUDY, journal

        sweep = self.folder.parent
        study = optuna.load_study(study_name=STUDY, storage=journal(sweep), pruner=pruner_of(sweep))
        return resume_trial(study, read_sealed(self.folder / "trial.json", ("trial",))["trial"])

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Report the metric at the current step.

        Raises:
            Pruned: on all ranks, if the study prunes the run.
        """
        value = (metrics or {}).get(self.metric)
        prune = False
        if self.processes.is_rank_zero and value is not None:
            self.trial.report(value, state.global_step)
            prune = self.trial.should_prune()
        if self.processes.broadcast(prune):
            raise Pruned(f"at step {state.global_step} with {self.metric} {value:.3f}", value)
