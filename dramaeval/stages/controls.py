"""The stage ``controls``: scores the held-out split with every control, and writes files in ``controls/``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from dramaeval.compat.deepspeed import unpartitioned_weights
from dramaeval.config.schema import Stage
from dramaeval.config.task_schema import evidence_splits
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.manifest import write_listed
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.evaluation.comparison import compare
from dramaeval.evaluation.controls import control_named
from dramaeval.evaluation.controls.control_context import ControlContext, NotPossibleError
from dramaeval.evaluation.controls.invariance import CHANGES
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.score_errors import MeanSquaredError
from dramaeval.evaluation.predictions import Prediction, prediction_line, read_predictions
from dramaeval.models.inputs.audio_encodings import pooled_encoding
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.predictions_file import set_aside_damaged
from dramaeval.stages.progress import Progress

log = logging.getLogger(__name__)

#: The metrics with which the judge is compared with a control.
GAINS = (Pearson(), MeanSquaredError())


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    if Stage.controls in config.stages and Stage.evaluate not in config.stages:
        return [
            "stages has controls without evaluate: controls are compared with the judge's own scores, so set "
            "stages=[evaluate,controls]."
        ]
    return []


def check_records(context: RunContext) -> list[str]:
    """Problems of a task without ratings."""
    return rating_problems(context, Stage.controls)


def run(context: RunContext) -> None:
    """Predict with every control on the test sets, or else on val; skip controls whose files are complete."""
    for split in evidence_splits(context.splits.held_out):
        for name in context.config.evaluation.controls:
            _run_control(context, split, name)


def _run_control(context: RunContext, split: str, name: str) -> None:
    file, processes = ControlFile(context.folder.path, split, name), context.processes
    settings = {key: context.config.evaluation[key] for key in control_named(name).settings}
    if processes.from_rank_zero(lambda: file.is_complete(settings)):
        return
    log.info("Control on %s: %s", split, name.replace("_", " "))
    try:
        result = control_named(name).predict(_control_context(context, split, name))
    except NotPossibleError as error:
        reason = str(error)
        log.warning("No control %s: %s.", name, reason)
        processes.on_rank_zero(lambda: file.write_reason(reason))
        return
    predictions, extra = result if isinstance(result, tuple) else (result, None)
    processes.on_rank_zero(lambda: file.write(predictions, extra, settings))


def _control_context(context: RunContext, split: str, name: str) -> ControlContext:
    evaluation, records = context.config.evaluation, context.splits[split]
    train = context.splits["train"]
    clips = _clip_count(context, len(records), name)
    progress = Progress(f"control {name.replace('_', ' ')}", clips, "clips")

    def score(records: Sequence[Record], record_encoder: RecordEncoder) -> list[Prediction]:
        predictions = context.score(records, progress, record_encoder)
        return [item for item in predictions if isinstance(item, Prediction)]

    return ControlContext(
        task=context.task,
        records=records,
        train=train,
        record_encoder=context.record_encoder,
        score=score,
        group_by=evaluation.group_by,
        seed=context.config.seed,
        phrasings=evaluation.phrasings,
        most_clips=evaluation.prosody_clips,
        changed_clips=evaluation.changed_clips,
        draws=evaluation.draws,
        level=evaluation.level,
        progress=progress,
        pooled_encodings=lambda records: _pooled_encodings(context, records, progress),
    )


def _clip_count(context: RunContext, records: int, name: str) -> int:
    """The number of clips that a control scores or decodes, for its progress."""
    evaluation = context.config.evaluation
    if "prosody_clips" in control_named(name).settings:
        return records + min(len(context.splits["train"]), evaluation.prosody_clips)
    if name == "phrasing":
        return records * evaluation.phrasings
    changes = {"invariance": len(CHANGES), "text_bias": 4 + (context.task.shots > 1)}
    if name in changes:
        return min(records, evaluation.changed_clips) * (1 + changes[name])
    return records


def _pooled_encodings(
    context: RunContext, records: Sequence[Record], progress: Progress
) -> list[np.ndarray | str]:
    """The averaged output of the base model's audio tower for each clip, or the reason for its absence.

    See `ControlContext`. The trained judge is removed from memory first and loaded again at its next use.
    """
    family, processes = context.family, context.processes
    if not family.takes_audio or "audio" not in family.parts:
        raise NotPossibleError("this judge has no audio tower")
    context.model = None
    with unpartitioned_weights():
        base = family.load(context.device, context.base, context.dtype, context.quantization)
    context.attach_encoding_cache(base)  # the cache has the encodings of a frozen tower
    encoder = context.record_encoder
    share: list[np.ndarray | str] = []
    for record in records[processes.rank :: processes.count]:
        try:
            share.append(pooled_encoding(base, encoder.windows(record)))
        except BadRecordsError as error:
            share.append(f"unreadable clip: {error.problems[0].problem}")
        progress(processes.count)
    encodings: list[np.ndarray | str] = [""] * len(records)
    for rank, values in enumerate(processes.gather(share)):
        encodings[rank :: processes.count] = values
    return encodings


def measure_controls(
    context: RunContext,
    split: str,
    judge: Sequence[Prediction],
    keys: Sequence[str],
    **settings: Any,
) -> dict[str, Any]:
    """Compare the judge with every control.

    Args:
        keys: the keys of the dimensions.
        settings: the settings of the bootstrap.

    Returns:
        by control: its description (``what``), the ``gain`` (judge − control), the ``reason`` for missing predictions,
        and for some controls the ``spread`` between phrasings or the ``changes`` of scores.
    """
    controls = {}
    for name in context.config.evaluation.controls:
        file, control = ControlFile(context.folder.path, split, name), control_named(name)
        predictions, reason = file.read()
        gain = compare(judge, predictions, keys, metrics=GAINS, **settings) if predictions else None
        controls[name] = {"what": control.description, "reason": reason, "gain": gain}
        if control.further_results and file.extra.is_file():
            controls[name][control.further_results] = _read_json(file.extra)
    return controls


class ControlFile:
    """The files of one control on one split.

    Args:
        run_folder: the run folder.

    Attributes:
        predictions: a JSONL file with one prediction per line.
        reason: the file with the reason why the control has no predictions.
        settings: the file with the settings of the predictions.
        extra: the file with further results of the control.
    """

    def __init__(self, run_folder: Path, split: str, control: str) -> None:
        self.predictions = run_folder / "controls" / f"{split}.{control}.jsonl"
        self.reason = self.predictions.with_suffix(".reason.json")
        self.settings = self.predictions.with_suffix(".settings.json")
        self.extra = self.predictions.with_suffix(".extra.json")

    def is_complete(self, settings: Mapping[str, int]) -> bool:
        """Whether undamaged predictions with these settings exist; damaged files are renamed.

        A reason is not enough: the restart may have the setting or the file that was missing, and finding the reason
        again costs no scoring.
        """
        if self._rename_damaged():
            return False
        exist = self.predictions.is_file() and self.settings.is_file()
        return exist and _read_json(self.settings) == settings

    def write(
        self, predictions: Sequence[Prediction], extra: Any, settings: Mapping[str, int]
    ) -> None:
        """Write all files. The predictions are last, so that their existence shows that all files exist."""
        self._delete_results()
        self.predictions.parent.mkdir(exist_ok=True)
        if extra is not None:
            write_json_atomic(self.extra, extra, listed=True)
        write_json_atomic(self.settings, settings, listed=True)
        lines = "".join(prediction_line(prediction) + "\n" for prediction in predictions)
        write_listed(self.predictions, lines)

    def write_reason(self, reason: str) -> None:
        """Write the reason why the control has no predictions."""
        self._delete_results()
        self.predictions.parent.mkdir(exist_ok=True)
        write_json_atomic(self.reason, reason, listed=True)

    def _delete_results(self) -> None:
        """Delete earlier results, which may have other settings."""
        for file in (self.predictions, self.reason, self.extra):
            file.unlink(missing_ok=True)

    def read(self) -> tuple[list[Prediction], str | None]:
        """The predictions, or no predictions and the reason."""
        if self.predictions.is_file():
            return read_predictions(self.predictions), None
        if self.reason.is_file():
            return [], _read_json(self.reason)
        return [], "it did not run"

    def _rename_damaged(self) -> bool:
        files = {
            self.predictions: read_predictions,
            self.reason: _read_json,
            self.settings: _read_json,
            self.extra: _read_json,
        }
        damage = [
            problem
            for file, read in files.items()
            if file.is_file() and (problem := set_aside_damaged(file, read))
        ]
        if damage:
            log.warning(
                "%s: %s. The control runs again.", self.predictions.parent, "; ".join(damage)
            )
        return bool(damage)


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
