"""Stops a training after a request, once all processes have saved a checkpoint at the same step."""

from __future__ import annotations

import logging
from typing import Any

from transformers import TrainerCallback

from dramaeval.distributed.processes import Processes
from dramaeval.distributed.signals import Interrupted, StopRequests

log = logging.getLogger(__name__)


class PreemptionCallback(TrainerCallback):
    """Saves a checkpoint and stops the training after a step during which any process received a request.

    Args:
        requests: the stop requests to this process.
        processes: the processes of the training.
    """

    def __init__(self, requests: StopRequests, processes: Processes) -> None:
        self.requests = requests
        self.processes = processes
        self._stopping = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Combine the requests of all ranks, since a signal may reach one rank a step earlier than another."""
        if any(self.processes.gather(self.requests.stop)):
            self._stopping = True
            log.info("Asked to stop: saving a checkpoint at step %d.", state.global_step)
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop once the checkpoint is written on all ranks.

        Raises:
            Interrupted: a process has received a request to stop.
        """
        if self._stopping:
            self.processes.barrier()
            raise Interrupted(f"stopped at step {state.global_step}")
