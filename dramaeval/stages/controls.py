"""The stage ``controls``: what the judge is compared with, each kept in a file of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.manifest import damage_of, is_listed, set_aside, write_listed
from dramaeval.data.records import Record
from dramaeval.evaluation.controls import (
    phrasing,
    prosody,
    shuffled_audio,
    silence,
    training_mean,
    transcript_only,
)
from dramaeval.evaluation.controls.setting import ControlContext, NotPossibleError
from dramaeval.evaluation.predictions import Prediction, prediction_line, read_predictions
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages import run_log

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext

log = logging.getLogger(__name__)

#: Each control by its name in ``evaluation.controls``; `dramaeval.config.check_evidence` knows the names too.
CONTROLS: dict[str, tuple[Callable[[ControlContext], Any], str]] = {
    "training_mean": (training_mean.training_mean, training_mean.WHAT),
    "transcript_only": (transcript_only.transcript_only, transcript_only.WHAT),
    "shuffled_audio": (shuffled_audio.shuffled_audio, shuffled_audio.WHAT),
    "silence": (silence.silence, silence.WHAT),
    "prosody": (prosody.prosody, prosody.WHAT),
    "phrasing": (phrasing.phrasing, phrasing.WHAT),
}


def run_controls(run: RunContext, split: str) -> None:
    """Make the predictions of every control on one held-out split, unless they are there already."""
    for name in run.config.evaluation.controls:
        path = control_file(run.folder.path, split, name)
        settings = _settings(run, name)
        if run.processes.broadcast(run.processes.is_rank_zero and _is_made(path, settings)):
            continue
        log.info("Control on %s: %s", split, name.replace("_", " "))
        try:
            made = CONTROLS[name][0](_setting(run, split, name))
        except NotPossibleError as error:
            log.warning("No control %s: %s.", name, error)
            _write(run, partial(write_json_atomic, reason_file(path), str(error), listed=True))
            continue
        predictions, extra = made if isinstance(made, tuple) else (made, None)
        text = "".join(prediction_line(one) + "\n" for one in predictions)
        if extra is not None:
            _write(run, partial(write_json_atomic, extra_file(path), extra, listed=True))
        _write(run, partial(write_json_atomic, settings_file(path), settings, listed=True))
        _write(run, partial(write_listed, path, text))


def _settings(run: RunContext, name: str) -> dict[str, int]:
    """What a control depends on that may change when a run is taken up again."""
    evaluation = run.config.evaluation
    own = {"phrasing": ("phrasings",), "prosody": ("prosody_clips",)}
    return {key: evaluation[key] for key in own.get(name, ())}


def _is_made(path: Path, settings: dict[str, int]) -> bool:
    """Whether a control is there already, whole and made with these settings."""
    if _set_damaged_aside(path):
        return False
    if reason_file(path).is_file():
        return True
    kept = settings_file(path)
    return path.is_file() and kept.is_file() and json.loads(kept.read_text("utf-8")) == settings


def _set_damaged_aside(path: Path) -> bool:
    """Set a control's damaged files aside, so that it is made again; returns whether there were any."""
    damage = []
    for file in (path, reason_file(path), settings_file(path), extra_file(path)):
        if file.is_file() and (told := damage_of(file) or _damage_in_form(file)):
            damage.append(f"{told} ({set_aside(file).name} keeps it)")
    if damage:
        log.warning("%s: %s. The control is made again.", path.parent, "; ".join(damage))
    return bool(damage)


def _damage_in_form(file: Path) -> str | None:
    """What is wrong with a file of an earlier version, which no manifest lists."""
    if is_listed(file):
        return None
    try:
        if file.suffix == ".jsonl":
            read_predictions(file)
        else:
            json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{file.name} is damaged: {error}"
    return None


def read_control(folder: Path, split: str, name: str) -> tuple[list[Prediction], str | None, Any]:
    """A control's predictions, or the reason why there are none; and what it found beside them."""
    path = control_file(folder, split, name)
    extra = extra_file(path)
    told = json.loads(extra.read_text(encoding="utf-8")) if extra.is_file() else None
    if path.is_file():
        return read_predictions(path), None, told
    reason = reason_file(path)
    if reason.is_file():
        return [], json.loads(reason.read_text(encoding="utf-8")), told
    return [], "it was not made", told


def control_file(folder: Path, split: str, name: str) -> Path:
    """Where a control's predictions are."""
    return folder / "controls" / f"{split}.{name}.jsonl"


def reason_file(path: Path) -> Path:
    """Says why there is no such control."""
    return path.with_suffix(".reason.json")


def settings_file(path: Path) -> Path:
    """Holds what a control was made with."""
    return path.with_suffix(".settings.json")


def extra_file(path: Path) -> Path:
    """Holds what a control found beside its predictions."""
    return path.with_suffix(".extra.json")


def _write(run: RunContext, write: Callable[[], None]) -> None:
    def in_folder() -> None:
        (run.folder.path / "controls").mkdir(exist_ok=True)
        write()

    run.processes.on_rank_zero(in_folder)


def _setting(run: RunContext, split: str, name: str) -> ControlContext:
    config = run.config
    clips = len(run.splits[split])
    if name == "prosody":
        clips += min(len(run.splits["train"]), config.evaluation.prosody_clips)
    progress = run_log.Progress(f"control {name.replace('_', ' ')}", clips, "clips")

    def scored(records: Sequence[Record], record_encoder: RecordEncoder) -> list[Prediction]:
        found = run.score(records, progress, record_encoder)
        return [one for one in found if isinstance(one, Prediction)]

    return ControlContext(
        task=run.task,
        records=run.splits[split],
        train=run.splits["train"],
        record_encoder=run.record_encoder,
        score=scored,
        group_by=config.evaluation.group_by,
        seed=config.seed,
        phrasings=config.evaluation.phrasings,
        most_clips=config.evaluation.prosody_clips,
        progress=progress,
    )
