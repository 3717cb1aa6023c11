"""What stands beside the agreement in ``metrics.json``: the gain of training, the controls, the slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError, near_match_hint
from dramaeval.config.schema import EvaluationConfig, Stage
from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.comparison import compare
from dramaeval.evaluation.metrics.mse import MeanSquaredError
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.slices import DIVISIONS, slices
from dramaeval.stages.controls import CONTROLS, read_control

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext
    from dramaeval.tasks.task import Task

#: What a judge may gain over a control.
GAINS = (Pearson(), MeanSquaredError())
#: Predictions by phase and split.
PredictionsByPhase = dict[str, dict[str, list[Prediction]]]


def check_keys(
    config: DictConfig, records: Sequence[Record], tasks: Sequence[Task], train: Sequence[Record]
) -> None:
    """Refuse to divide or group by a key that no held-out record has, or to weight by one that no other has.

    What is there by default does not count: not every data set says a language or a character.

    Raises:
        ConfigError: with the keys that the records have.
    """
    usual, evaluation = EvaluationConfig(), config.evaluation
    asked = {
        "evaluation.slices": [
            name for name in evaluation.slices if name not in (*usual.slices, *DIVISIONS)
        ],
        "evaluation.group_by": [evaluation.group_by]
        if evaluation.group_by != usual.group_by
        else [],
    }
    there = sorted({name for record in records for name in record.fields})
    problems = [
        f"{key}: no held-out record has the key {name}; there are {', '.join(there)}.{near_match_hint(name, there)}"
        for key, names in asked.items()
        for name in names
        if records and not any(group_of(record, name) for record in records)
    ]
    problems += [
        f"task.confidence={task.confidence}: no training record says how sure its raters are under that key."
        for task in tasks
        if task.confidence and train and not any(one.given(task.confidence) for one in train)
    ]
    if problems:
        raise ConfigError(problems)


def main_split(said: PredictionsByPhase) -> str:
    """The split that the evidence is about: test where there is one, else val."""
    splits = said[list(said)[-1]]
    return "test" if "test" in splits else next(iter(splits))


def records_of(run: RunContext, split: str, part: str | None = None) -> list[Record]:
    """The records of a split; of a mixture, those of one task."""
    return [one for one in run.splits[split] if part is None or one.part == part]


def gather_predictions(
    run: RunContext, said: PredictionsByPhase, part: Task | None = None
) -> dict[str, Any]:
    """The evidence on the main split, about the last phase's judge.

    Args:
        run: what was done.
        said: its predictions.
        part: of a mixture, the task that they are about.

    Returns:
        ``gain.<split>`` (see `compare`: final − zero-shot), ``slices.<split>`` (see `slices`), and with the
        stage ``controls`` also ``controls.<split>.<name>``: ``what`` it is, ``gain`` (judge − control),
        ``reason`` where there is none, and ``spread`` between phrasings.
    """
    split, phase = main_split(said), list(said)[-1]
    name = next((key for key, one in run.task.parts.items() if one is part), None)
    rated = run.task.rated if part is None else part.rated
    keys = [f"{name}/{one.key}" if name else one.key for one in rated]
    evaluation = run.config.evaluation
    settings: dict[str, Any] = {
        "seed": run.config.seed,
        "draws": evaluation.draws,
        "level": evaluation.level,
    }
    found: dict[str, Any] = {}
    judge = said[phase][split]
    if len(said) == 2:
        found["gain"] = {split: compare(judge, said["zero_shot"][split], keys, **settings)}
    found["slices"] = {
        split: slices(
            judge,
            records_of(run, split, name),
            records_of(run, "train", name),
            list(evaluation.slices),
            **settings,
        )
    }
    if Stage.controls in run.config.stages:
        controls = {}
        for name in evaluation.controls:
            predictions, reason, extra = read_control(run.folder.path, split, name)
            controls[name] = {
                "what": CONTROLS[name][1],
                "reason": reason,
                "gain": compare(judge, predictions, keys, metrics=GAINS, **settings)
                if predictions
                else None,
            }
            if extra is not None:
                controls[name]["spread"] = extra
        found["controls"] = {split: controls}
    return found
