"""The loggers of a run: TensorBoard, W&B and the traces of ``debug=true``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.secrets import masked
from dramaeval.training.callbacks.debug import Debugging


class LogFolder(Protocol):
    """The folders of a run that loggers write to."""

    @property
    def path(self) -> Path:
        """The run folder."""

    @property
    def tensorboard(self) -> Path:
        """Training curves."""

    @property
    def debug(self) -> Path:
        """The first batch and a profile."""


class Loggers:
    """The loggers of a run; a context manager that closes them, also after an error.

    Args:
        config: the run's configuration.
        folder: of the run.
        writes: whether this process writes curves and tables.
        identity: the run's short id.
    """

    def __init__(
        self,
        config: DictConfig,
        folder: LogFolder,
        *,
        writes: bool = True,
        identity: str | None = None,
    ) -> None:
        self.folder = folder
        chosen = (config.logger or {}) if writes else {}
        self.debugging = Debugging(folder.debug) if config.debug else None
        self.tensorboard = bool(chosen.get("tensorboard"))
        self.wandb: Any = None
        if chosen.get("wandb"):
            from dramaeval.training.callbacks.weights_and_biases import WeightsAndBiases

            plain: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
            about = {**masked(plain), "run_id": identity}
            self.wandb = WeightsAndBiases(plain["logger"]["wandb"], folder.path, about)

    def callbacks(self, step: int | None) -> list[Any]:
        """Callbacks for the trainer.

        Args:
            step: at which training resumes, or None.
        """
        callbacks: list[Any] = []
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            # Steps after the checkpoint will be logged again.
            writer = SummaryWriter(log_dir=str(self.folder.tensorboard), purge_step=step)
            callbacks.append(TensorBoardCallback(writer))
        return callbacks + [logger for logger in (self.wandb, self.debugging) if logger]

    def report(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Log the measured agreement."""
        if self.wandb:
            self.wandb.report(metrics)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.debugging:
            self.debugging.close()
        if self.wandb:
            self.wandb.finish(failed=error is not None)
