"""Writes ``judge.yaml`` beside a trainer's weights, and compares a few-shot judge's examples with those of the file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dramaeval.config.judge_file import judge_text
from dramaeval.config.weights import JUDGE
from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.fingerprint import digest_of, record_prints
from dramaeval.data.logmel import VERSION
from dramaeval.data.records import Record
from dramaeval.stages.builders import trained_raters

log = logging.getLogger(__name__)


def require_same_examples(
    expected: str | None, records: Sequence[Record], *, reads_audio: bool
) -> None:
    """Check that a few-shot judge takes its examples from the same records as in its training.

    Args:
        expected: the hash of the records in ``judge.yaml``; None if unknown.
        records: the current records.
        reads_audio: whether the hash includes the records' clips.

    Raises:
        ValueError: the records differ.
    """
    if expected is None:
        return
    if digest_of(record_prints(records, ContentHashes(), reads_audio=reads_audio)) != expected:
        raise ValueError(
            f"This judge shows examples from {records[0].file}, and the records or clips there are no longer those of "
            "its training: restore them."
        )


class SavesJudgeFile:
    """A mixin for trainers: ``save_model`` also writes ``judge.yaml``, so that the folder is a complete judge."""

    args: Any
    record_encoder: Any
    train_records: Sequence[Record]
    #: The objective of the training as text; None for a training by rewards.
    objective_text: str | None = None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the weights as transformers does, and ``judge.yaml`` beside them.

        For a task that was not built from settings, no ``judge.yaml`` is written and a warning is logged.
        """
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]  # the method of the trainer class
        if _internal_call or not self.args.should_save:
            return
        family, task = self.record_encoder.family, self.record_encoder.task
        if task.built_from is None:
            log.warning(
                "No judge.yaml is written: the task %s was not built from settings.", task.name
            )
            return
        kind = type(family)
        settings = {
            "model": {
                "_target_": f"{kind.__module__}.{kind.__qualname__}",
                "path": family.path,
                "revision": family.revision,
                "head": family.head,
            },
            # The file records only whether the data is the bundled sample, and here it is the user's.
            "task": {**task.built_from, "data": {"train": "records"}},
            "trainer": {"objective": self.objective_text},
        }
        raters = trained_raters(task, self.train_records)
        text = judge_text(settings, base=family.path, front_end=VERSION, raters=raters)
        Path(output_dir or self.args.output_dir, JUDGE).write_text(text, encoding="utf-8")
