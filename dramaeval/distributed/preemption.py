"""A training that is asked to stop saves a checkpoint first, on all processes at the same step."""

from __future__ import annotations

import logging
from typing import Any

from transformers import TrainerCallback

from dramaeval.distributed.processes import Processes
from dramaeval.distributed.signals import Interrupted, StopRequests

log = logging.getLogger(__name__)


class PreemptionCallback(TrainerCallback):
    """Between two steps: if any process was asked to stop, all save and leave.

    Args:
        requests: of this process.
        processes: that train together.
    """

    def __init__(self, requests: StopRequests, processes: Processes) -> None:
        self.requests = requests
        self.processes = processes
        self._stopping = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Agree, since a signal may reach one process a step earlier than another."""
        if any(self.processes.gather(self.requests.stop)):
            self._stopping = True
            log.info("Asked to stop: saving a checkpoint at step %d.", state.global_step)
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint is written; nobody leaves before everybody is here."""
        if self._stopping:
            self.processes.barrier()
            raise Interrupted(f"stopped at step {state.global_step}")
