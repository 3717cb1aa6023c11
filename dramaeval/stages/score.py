"""The stage ``score``: scores the clips of ``input=…`` into ``predictions.jsonl``, which grows line by line."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from dramaeval.config.schema import Stage
from dramaeval.data.records import Record
from dramaeval.evaluation.prediction_stream import stream, take_up
from dramaeval.evaluation.predictions import Prediction, read_predictions
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.progress import Progress
from dramaeval.stages.read_splits import INPUT

log = logging.getLogger(__name__)


def check_records(context: RunContext) -> list[str]:
    """Refuse tasks without ratings."""
    return rating_problems(context, Stage.score)


def run(context: RunContext) -> None:
    """Score the clips that have no complete predictions yet."""
    records, file = context.splits[INPUT], context.folder.predictions("final")
    # A clip's own ratings, if it has any, must not decide which dimensions the judge is asked for.
    task = context.task.without_ratings()
    record_encoder = context.record_encoder.for_task(task)
    missing = take_up(file, records, lambda record: len(task.asked(record)), context.processes)
    if len(missing) < len(records):
        log.info("%d of %d clips were scored before.", len(records) - len(missing), len(records))
    progress = Progress("scoring input", len(missing), "clips")

    def score(window: Sequence[Record]) -> list[Prediction]:
        return context.score_ratings(window, progress, record_encoder)

    clips = context.config.batch.eval_clips
    stream(file, missing, score, clips_a_batch=clips, processes=context.processes)
    progress.finish()
    if context.processes.is_rank_zero:
        predictions = read_predictions(file)
        unscored = Counter(one.state for one in predictions if not one.scored)
        for state, count in unscored.most_common():
            log.warning("%d of %d questions unscored: %s", count, len(predictions), state)
        scored = len(predictions) - unscored.total()
        log.info("%d clips, %d scores in %s", len(records), scored, file)
