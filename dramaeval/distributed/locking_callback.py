"""The Hydra callback that locks a run's folder before Hydra writes anything into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from dramaeval.distributed.folder_lock import FolderInUseError, take


class LocksRunFolder(Callback):
    """Locks ``hydra.run.dir``; `dramaeval.stages.pipeline` releases the lock at the end of the run.

    Hydra writes ``.hydra/`` before it calls the program, so a second start in the same folder would overwrite the
    settings of the run that works there.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder.

        Raises:
            SystemExit: another process works in it.
        """
        hydra = HydraConfig.instance()
        previous = hydra.cfg
        hydra.set_config(config)  # the name of the folder may refer to other settings of Hydra
        try:
            take(Path(str(config.hydra.run.dir)).absolute())
        except FolderInUseError as error:
            raise SystemExit(f"\n{error}") from None
        except OSError:
            return  # the folder cannot be written: Hydra reports it next
        finally:
            hydra.cfg = previous
