"""The loggers of a run, by the settings ``logger`` and ``debug``: TensorBoard, W&B, profiles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.secrets import masked
from dramaeval.training.callbacks.debug import Debugging


class Loggers:
    """The run's loggers; a context manager that closes them at the end, also after an error.

    Args:
        config: the run's configuration.
        folder: the run folder.
        debug_folder: folder for the files of ``debug=true``.
        tensorboard_folder: folder for TensorBoard's files.
        writes: whether this process writes curves and tables.
        identity: the run's short id.
    """

    def __init__(
        self,
        config: DictConfig,
        folder: Path,
        *,
        debug_folder: Path,
        tensorboard_folder: Path,
        writes: bool = True,
        identity: str | None = None,
    ) -> None:
        self.debugging = Debugging(debug_folder) if config.debug else None
        self.tensorboard = tensorboard_folder if writes and config.logger.tensorboard else None
        self.wandb: Any = None
        if writes and config.logger.wandb.enabled:
            from dramaeval.training.callbacks.weights_and_biases import WeightsAndBiases

            settings: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
            about = {**masked(settings), "run_id": identity}
            self.wandb = WeightsAndBiases(settings["logger"]["wandb"], folder, about)

    def callbacks(self, step: int | None) -> list[Any]:
        """The trainer's callbacks.

        Args:
            step: the step at which training resumes; None for a new training.
        """
        callbacks: list[Any] = []
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            # Training logs the steps after the resumed checkpoint again.
            writer = SummaryWriter(log_dir=str(self.tensorboard), purge_step=step)
            callbacks.append(TensorBoardCallback(writer))
        return callbacks + [callback for callback in (self.wandb, self.debugging) if callback]

    def report(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Report the agreement with people to W&B."""
        if self.wandb:
            self.wandb.report(metrics)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.debugging:
            self.debugging.close()
        if self.wandb:
            self.wandb.finish(failed=kind is not None)
