"""``debug=true``: what a training really does, kept in the run folder's ``debug/``.

Anomaly detection names the operation whose gradient is not finite, loading runs in the training process so
that an error in it has a plain traceback, CUDA reports errors where they happen, and two files show the rest:
``first_batch.txt``, token by token, and ``trace.json.gz``, a profile of ten steps for chrome://tracing or
Perfetto. What is computed stays the same; it only takes longer.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from dramaeval.config.secrets import without_secrets
from dramaeval.models.inputs.dump import dump_text

log = logging.getLogger(__name__)

PROFILED_STEPS = 10


def prepare() -> None:
    """What has to be set before CUDA starts."""
    os.environ.setdefault("CUDA_LAUNCH_BLOCKING", "1")


def dump_first_batch(trainer: Any, folder: Path) -> None:
    """Write the first batch of the training, as the model will see it, to ``first_batch.txt``.

    Drawn from the collator, not from a loader, so that no random state moves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = trainer.args.per_device_train_batch_size
    rows = [{"record": at} for at in list(trainer.order)[:size]]
    batch = trainer.data_collator(rows)["batch"]
    names = "\n".join(
        f"question {number}: {record} × {dimension}"
        for number, (record, dimension) in enumerate(batch.question_keys)
    )
    head = (
        f"{batch.clips} clips, {batch.questions} questions, {batch.tokens} tokens computed\n{names}"
    )
    columns = "row  position  token  → what is trained there"
    text = dump_text(batch, trainer.processing_class.tokenizer)
    file = folder / "first_batch.txt"
    file.write_text(without_secrets(f"{head}\n\n{columns}\n{text}\n"), encoding="utf-8")
    log.info("debug: the first batch, token by token, is in %s", file)


class Debugging(TrainerCallback):
    """Anomaly detection while training runs, and a profile of its first steps.

    Args:
        folder: where the trace goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profiler: Any = None
        self._left = PROFILED_STEPS

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Switch everything on."""
        torch.autograd.set_detect_anomaly(True)
        if state.is_world_process_zero:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=activities)
            self._profiler.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the profiled steps."""
        self._left -= 1
        if self._left == 0:
            self._write()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Switch everything off."""
        self.close()

    def close(self) -> None:
        """The end, also of a training that stops half-way."""
        torch.autograd.set_detect_anomaly(False)
        self._write()

    def _write(self) -> None:
        """Write the trace of the steps so far, once."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "trace.json.gz"
        profiler.export_chrome_trace(str(file))
        log.info("debug: a profile of %d steps is in %s", PROFILED_STEPS - self._left, file)
