"""``debug=true``: anomaly detection, the first batch as text, and a profile, in the run folder's ``debug/``.

Anomaly detection names the operation whose gradient is not finite. Data is loaded in the training process, so that
an error has a plain traceback, and CUDA reports an error at the operation that causes it. ``first_batch.txt`` lists
the first batch token by token; ``trace.json.gz`` is a profile of ten steps for chrome://tracing or Perfetto. Training
takes longer; its results do not change.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from dramaeval.config.secrets import without_secrets
from dramaeval.data.problems import counted
from dramaeval.models.inputs.dump import dump_text

log = logging.getLogger(__name__)

PROFILED_STEPS = 10


def prepare() -> None:
    """Set the environment variables that CUDA reads at its start."""
    os.environ.setdefault("CUDA_LAUNCH_BLOCKING", "1")


def dump_first_batch(trainer: Any, folder: Path) -> None:
    """Write the first batch of the training to ``first_batch.txt``.

    The collator is called directly, because a data loader would advance random states.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [trainer.order.row(number) for number in next(iter(trainer.batch_sampler()))]
    batch = trainer.data_collator(rows)["batch"]
    names = "\n".join(
        f"question {number}: {record} × {dimension}"
        for number, (record, dimension) in enumerate(batch.question_keys)
    )
    head = f"{counted(batch.clips, 'clip')}, {counted(batch.questions, 'question')}, {batch.tokens} tokens computed\n{names}"
    columns = "row  position  token  → trained token"
    text = dump_text(batch, trainer.processing_class.tokenizer)
    file = folder / "first_batch.txt"
    file.write_text(without_secrets(f"{head}\n\n{columns}\n{text}\n"), encoding="utf-8")
    log.info("debug: the first batch, token by token, is in %s", file)


class Debugging(TrainerCallback):
    """Runs anomaly detection during training, and profiles its first steps.

    Args:
        folder: the folder of the trace file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profiler: Any = None
        self._left = PROFILED_STEPS

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start anomaly detection and the profiler."""
        torch.autograd.set_detect_anomaly(True)
        if state.is_world_process_zero:
            self._profiler = torch.profiler.profile()
            self._profiler.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step, and write the trace after the last profiled step."""
        self._left -= 1
        if self._left == 0:
            self._write()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Stop anomaly detection and the profiler, also after a training that failed."""
        torch.autograd.set_detect_anomaly(False)
        self._write()

    def _write(self) -> None:
        """Write the trace of the steps so far, if it is not written yet."""
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "trace.json.gz"
        profiler.export_chrome_trace(str(file))
        log.info("debug: a profile of %d steps is in %s", PROFILED_STEPS - self._left, file)
