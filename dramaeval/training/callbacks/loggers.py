"""Where curves, tables and traces go beside the run folder's own files, as ``logger`` and ``debug`` say."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.secrets import masked
from dramaeval.stages.run_folder import RunFolder
from dramaeval.training.callbacks.debug import Debugging


class Loggers:
    """The run's loggers; a context that closes them however the run ends.

    Args:
        config: the run's configuration.
        folder: where they keep their files.
        writes: whether this process is the one that writes curves and tables.
        identity: the run's short id.
    """

    def __init__(
        self,
        config: DictConfig,
        folder: RunFolder,
        *,
        writes: bool = True,
        identity: str | None = None,
    ) -> None:
        self.folder = folder
        self.debugging = Debugging(folder.debug) if config.debug else None
        self.tensorboard = writes and config.logger.tensorboard
        self.wandb: Any = None
        if writes and config.logger.wandb.enabled:
            from dramaeval.training.callbacks.weights_and_biases import WeightsAndBiases

            plain: Any = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
            about = {**masked(plain), "run_id": identity}
            self.wandb = WeightsAndBiases(plain["logger"]["wandb"], folder.path, about)

    def callbacks(self, step: int | None) -> list[Any]:
        """Callbacks for the trainer.

        Args:
            step: the step that training resumes at, or None.
        """
        found: list[Any] = []
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            # What was logged after the checkpoint that is resumed will be logged again.
            writer = SummaryWriter(log_dir=str(self.folder.tensorboard), purge_step=step)
            found.append(TensorBoardCallback(writer))
        return found + [one for one in (self.wandb, self.debugging) if one]

    def report(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Pass on the measured agreement."""
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
