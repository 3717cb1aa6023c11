"""The stage ``score``: clips without ratings, scored into a ``predictions.jsonl`` that grows as it goes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.data.records import Record
from dramaeval.evaluation.prediction_stream import stream, take_up
from dramaeval.evaluation.predictions import Prediction, read_predictions
from dramaeval.stages import run_log
from dramaeval.stages.splits import INPUT

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext
    from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


def check_systems(stages: Sequence[Stage], records: Sequence[Record]) -> None:
    """Refuse clips that cannot be ranked, before weights load.

    Raises:
        ConfigError: they name fewer than two systems.
    """
    if Stage.leaderboard not in stages:
        return
    systems = {record.system for record in records} - {None}
    if len(systems) < 2:
        raise ConfigError(
            [
                f"stages=[leaderboard] ranks systems, but the records of input=… name {len(systems)}: give "
                'each record the key "system".'
            ]
        )


def check_rated(stages: Sequence[Stage], task: Task) -> None:
    """Refuse what is worked out from scores alone, where a task has other answers or is made of several.

    Raises:
        ConfigError: naming the stage.
    """
    if not task.parts and len(task.rated) == len(task.dimensions):
        return
    asked = sorted(
        {Stage.score, Stage.leaderboard, Stage.controls} & set(stages), key=lambda one: one.name
    )
    problems = [
        f"stages has {stage.name}, which needs one task with ratings, and task={task.name} is not one: use "
        "stages=[evaluate] for it."
        for stage in asked
    ]
    if problems:
        raise ConfigError(problems)


def score_input(run: RunContext) -> list[Prediction]:
    """Score the records of ``input=…`` that are not scored yet; returns all predictions, at every process."""
    records, path = run.splits[INPUT], run.folder.predictions("final")
    # Raters' verdicts, where some clips have them, must not decide what the judge is asked about a clip.
    task = run.task.without_ratings()
    record_encoder = run.record_encoder.of(task)
    missing = take_up(path, records, lambda one: len(task.asked(one)), run.processes)
    if len(missing) < len(records):
        log.info("%d of %d clips were scored before.", len(records) - len(missing), len(records))
    progress = run_log.Progress("scoring input", len(missing), "clips")

    def scored(window: Sequence[Record]) -> list[Prediction]:
        found = run.score(window, progress, record_encoder)
        return [one for one in found if isinstance(one, Prediction)]

    clips = run.config.batch.eval_clips
    stream(path, missing, scored, clips_a_batch=clips, processes=run.processes)
    progress.finish()
    found: list[Prediction] = run.processes.broadcast(read_predictions(path))
    _tell(path, len(records), found)
    return found


def _tell(path: Path, clips: int, found: Sequence[Prediction]) -> None:
    unscored = Counter(one.state for one in found if not one.scored)
    for state, number in unscored.most_common():
        log.warning("%d of %d questions unscored: %s", number, len(found), state)
    log.info("%d clips, %d scores in %s", clips, len(found) - unscored.total(), path)
