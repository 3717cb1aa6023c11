"""The stage ``score``: scores the clips of ``input=…`` and appends the predictions to ``predictions.jsonl``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config.home_folder import expand_home
from dramaeval.config.schema import LeaderboardConfig, Stage
from dramaeval.config.task_parts import files_of
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.problems import counted
from dramaeval.data.records import Record
from dramaeval.data.unicode_paths import stored_path
from dramaeval.evaluation.pair_predictions import read_pair_predictions
from dramaeval.evaluation.prediction_stream import Streamed, resume, stream
from dramaeval.evaluation.predictions import SCORED
from dramaeval.evaluation.score_table import ENDINGS, SHOWN, by_clip, print_scores, write_scores
from dramaeval.stages import score_input, shards
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.progress import FILE, Progress
from dramaeval.stages.read_splits import INPUT
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of the stages ``score`` and ``leaderboard``."""
    stages = [stage.name for stage in (Stage.score, Stage.leaderboard) if stage in config.stages]
    problems = []
    if Stage.leaderboard not in config.stages:
        problems += [
            f"leaderboard.{key}=… is read by stages=[leaderboard] only."
            for key, default in asdict(LeaderboardConfig()).items()
            if config.leaderboard[key] != default
        ]
    if not stages:
        return [*problems, *shards.problems(config)] + [
            f"{key}=… is read by stages=[score] and stages=[leaderboard] only."
            for key in ("input", "texts", "output")
            if config[key]
        ]
    problems += [
        *score_input.problems(config),
        *output_problems(config.output),
        *_overwriting_problems(config),
        *shards.problems(config),
    ]
    if not score_input.input_items(config):
        problems.append(f"stages=[{stages[0]}] needs input=FILE, FOLDER or GLOB: the clips.")
    if Stage.evaluate in config.stages:
        problems.append(
            f"stages has evaluate and {stages[0]}, and both write predictions.jsonl: make two runs, the second "
            "with checkpoint=RUN of the first."
        )
    return problems


def output_problems(output: str | None) -> list[str]:
    """Problems of ``output``."""
    if output is None:
        return []
    path = expand_home(output)
    if path.suffix not in ENDINGS:
        return [f"output={output} must end with {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."]
    if not path.absolute().parent.is_dir():
        return [f"output={output}: the folder {path.parent} does not exist."]
    return []


def _overwriting_problems(config: DictConfig) -> list[str]:
    """The problem of an ``output`` that is a file with records of this run."""
    if config.output is None or not (output := expand_home(config.output)).is_file():
        return []
    data = [file for files in files_of(config.task).values() for file in files]
    read = [*score_input.named_files(config), *data]
    if not any((path := stored_path(name)).is_file() and path.samefile(output) for name in read):
        return []
    return [f"output={config.output} would replace a file that this run reads: give another name."]


def check_records(context: RunContext) -> list[str]:
    """Problems of a task without ratings or pairs."""
    return rating_problems(context, Stage.score, takes_pairs=True)


def run(context: RunContext) -> None:
    """Score the clips that have no complete predictions."""
    records, file = context.splits[INPUT], context.folder.predictions("final")
    # Clips may have ratings, which must not decide which dimensions are scored.
    task = context.task.without_ratings()
    # Each question is encoded once, so keeping prompts would only use memory.
    record_encoder = context.record_encoder.for_task(task, prompts_kept=0)
    missing = resume(
        file, records, lambda record: len(task.dimensions_for(record)), context.processes
    )
    if len(missing) < len(records):
        log.info("%d of %d clips were scored before.", len(records) - len(missing), len(records))
    is_shard = context.config.shards > 1
    progress = Progress(
        "scoring input",
        len(missing),
        "clips",
        file=context.folder.path / FILE if is_shard and context.processes.is_rank_zero else None,
        before=len(records) - len(missing),
    )

    def score(window: Sequence[Record]) -> list[Streamed]:
        predictions = context.score(window, progress, record_encoder)
        return [prediction for prediction in predictions if isinstance(prediction, Streamed)]

    clips = context.config.batch.eval_clips
    stream(file, missing, score, clips_a_batch=clips, processes=context.processes)
    if is_shard:
        _finish_shard(context, progress)
        return
    progress.finish()
    finish = _finish_pairs if isinstance(task, PairTask) else _finish
    context.processes.on_rank_zero(lambda: finish(context, task, file))


def _finish_pairs(context: RunContext, task: Task, file: Path) -> None:
    """Log the counts and write ``output``."""
    pairs, compared = len(context.splits[INPUT]), len(read_pair_predictions(file))
    log.info("%s, %s in %s", counted(pairs, "pair"), counted(compared, "comparison"), file)
    if output := context.config.output:
        keys = [dimension.key for dimension in task.dimensions]
        write_scores(expand_home(output), file, keys, {})
        log.info("The comparisons are in %s", output)


def _finish_shard(context: RunContext, progress: Progress) -> None:
    """Write the files that the sweep needs to join the shards and to write ``output``."""
    if context.config.output:
        file = context.folder.path / shards.CLIPS
        clips = {record.id: str(record.clip) for record in context.splits[INPUT]}
        context.processes.on_rank_zero(lambda: write_json_atomic(file, clips))
    progress.finish()


def _finish(context: RunContext, task: Task, file: Path) -> None:
    """Log the counts, print the first scores and write ``output``."""
    records, output = context.splits[INPUT], context.config.output
    states: Counter[str] = Counter()
    for predictions in by_clip(file):
        states.update(prediction.state for prediction in predictions)
    total = states.total()
    scored = states.pop(SCORED, 0)
    for state, count in states.most_common():
        log.warning("%d of %d questions unscored: %s", count, total, state)
    log.info("%s, %s in %s", counted(len(records), "clip"), counted(scored, "score"), file)
    keys = [dimension.key for dimension in task.rated_dimensions]
    if output:
        path = expand_home(output)
        write_scores(path, file, keys, {record.id: str(record.clip) for record in records})
        log.info("The scores are in %s", path)
    print_scores(by_clip(file), keys)
    if len(records) > SHOWN:
        print(f"… and {len(records) - SHOWN:,} more clips in {output or file}", flush=True)
