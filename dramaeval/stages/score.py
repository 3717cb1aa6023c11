"""The stage ``score``: scores the clips of ``input=…`` into ``predictions.jsonl``, which grows line by line."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config.schema import Stage
from dramaeval.data.records import Record
from dramaeval.evaluation.pair_predictions import read_pair_predictions
from dramaeval.evaluation.prediction_stream import Streamed, resume, stream
from dramaeval.evaluation.predictions import read_predictions
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.progress import Progress
from dramaeval.stages.read_splits import INPUT
from dramaeval.tasks.pair import PairTask

log = logging.getLogger(__name__)


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of the stages ``score`` and ``leaderboard``."""
    stages = [stage.name for stage in (Stage.score, Stage.leaderboard) if stage in config.stages]
    if not stages:
        unread = config.input is not None
        return (
            ["input=… is read by stages=[score] and stages=[leaderboard] only."] if unread else []
        )
    problems = []
    if config.input is None:
        problems.append(f"stages=[{stages[0]}] needs input=FILE.jsonl: the clips.")
    if Stage.evaluate in config.stages:
        problems.append(
            f"stages has evaluate and {stages[0]}, and both write predictions.jsonl: make two runs, the second "
            "with checkpoint=RUN of the first."
        )
    return problems


def check_records(context: RunContext) -> list[str]:
    """Problems of tasks without ratings; pairs can be scored."""
    return rating_problems(context, Stage.score, takes_pairs=True)


def run(context: RunContext) -> None:
    """Score the clips that have no complete predictions yet."""
    records, file = context.splits[INPUT], context.folder.predictions("final")
    # The ratings of a clip, if it has any, must not decide which dimensions are scored.
    task = context.task.without_ratings()
    record_encoder = context.record_encoder.for_task(task)
    missing = resume(
        file, records, lambda record: len(task.dimensions_for(record)), context.processes
    )
    if len(missing) < len(records):
        log.info("%d of %d clips were scored before.", len(records) - len(missing), len(records))
    progress = Progress("scoring input", len(missing), "clips")

    def score(window: Sequence[Record]) -> list[Streamed]:
        predictions = context.score(window, progress, record_encoder)
        return [each for each in predictions if isinstance(each, Streamed)]

    clips = context.config.batch.eval_clips
    stream(file, missing, score, clips_a_batch=clips, processes=context.processes)
    progress.finish()
    if context.processes.is_rank_zero:
        if isinstance(task, PairTask):
            compared = len(read_pair_predictions(file))
            log.info("%d pairs, %d comparisons in %s", len(records), compared, file)
        else:
            _log_scores(file, len(records))


def _log_scores(file: Path, clips: int) -> None:
    predictions = read_predictions(file)
    unscored = Counter(each.state for each in predictions if not each.scored)
    for state, count in unscored.most_common():
        log.warning("%d of %d questions unscored: %s", count, len(predictions), state)
    log.info("%d clips, %d scores in %s", clips, len(predictions) - unscored.total(), file)
