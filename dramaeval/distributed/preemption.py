"""Stops a training on request, after all processes have saved a checkpoint at the same step."""

from __future__ import annotations

import logging
from typing import Any

from transformers import TrainerCallback

from dramaeval.distributed.processes import Processes
from dramaeval.distributed.signals import Interrupted, StopRequests

log = logging.getLogger(__name__)


class PreemptionCallback(TrainerCallback):
    """Saves a checkpoint and stops the training after a step in which at least one process received a request.

    Args:
        requests: the stop requests to this process.
    """

    def __init__(self, requests: StopRequests, processes: Processes) -> None:
        self.requests = requests
        self.processes = processes
        self._stopping = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ask for a checkpoint if a rank received a request; a signal may reach the ranks in different steps."""
        if any(self.processes.gather(self.requests.stop)):
            self._stopping = True
            log.info("Asked to stop: saving a checkpoint at step %d.", state.global_step)
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after all ranks have written the checkpoint.

        Raises:
            Interrupted: a process has received a request to stop.
        """
        if self._stopping:
            self.processes.barrier()
            raise Interrupted(f"stopped at step {state.global_step}")
