"""A user's callback that counts steps and saves its count in checkpoints."""

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class StepCounter(TrainerCallback, ExportableState):
    """Adds ``size`` to ``count`` at each step.

    Args:
        size: the number that each step adds to the count.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.count = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the size of a step."""
        self.count += self.size

    def state(self) -> dict[str, Any]:
        """The state as transformers saves it."""
        return {"args": {"size": self.size}, "attributes": {"count": self.count}}
