"""What a run measures beside the agreement of its ratings: multiple choice, each task of a mixture, wording."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.evaluation.agreement_table import agreement_text
from dramaeval.evaluation.metrics.metric import Metric
from dramaeval.evaluation.multiple_choice import accuracy_text, summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.summary import summarise
from dramaeval.evaluation.wordings import with_wordings, wording_text
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)

#: Figures by split and phase.
Measured = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class PhaseAnswers:
    """What a predictions file holds, by split.

    Attributes:
        ratings: predicted scores.
        options: answers to multiple-choice questions.
    """

    ratings: dict[str, list[Prediction]] = field(default_factory=dict)
    options: dict[str, list[OptionPrediction]] = field(default_factory=dict)


def read_answers(file: Path) -> PhaseAnswers:
    """Read a predictions file back."""
    answers = PhaseAnswers()
    # Not str.splitlines: an id may hold further characters that it takes for line ends.
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            values = json.loads(line)
            if "options" in values:
                options = answers.options.setdefault(values["split"], [])
                options.append(OptionPrediction.from_json(values))
            else:
                ratings = answers.ratings.setdefault(values["split"], [])
                ratings.append(Prediction.from_json(values))
    return answers


def read_phase(file: Path) -> dict[str, list[Prediction]]:
    """Read a predictions file's ratings back, by split."""
    return read_answers(file).ratings


def read_options(file: Path) -> dict[str, list[OptionPrediction]]:
    """Read a predictions file's answers to multiple-choice questions back, by split."""
    return read_answers(file).options


def damage_in_form(file: Path) -> str | None:
    """What is wrong with a predictions file, as far as it can be told without its hash."""
    try:
        answers = read_answers(file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{file.name} is damaged: {error}"
    return None if answers.ratings or answers.options else f"{file.name} is empty"


def agreement(
    config: DictConfig,
    predictions: Sequence[Prediction],
    keys: Sequence[str],
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    """`summarise` with the run's settings, and the spread between wordings where there were several."""
    summary = summarise(
        predictions,
        keys,
        seed=config.seed,
        draws=config.evaluation.draws,
        level=config.evaluation.level,
        metrics=metrics,
    )
    return with_wordings(summary, predictions)


def measured_beside(
    config: DictConfig, task: Task, answers: Mapping[str, PhaseAnswers], metrics: Sequence[Metric]
) -> dict[str, Any]:
    """What stands beside the agreement over all ratings in ``metrics.json``.

    Args:
        config: the run's.
        task: what was asked.
        answers: of each phase.
        metrics: the user's own.

    Returns:
        ``choices.<split>.<phase>`` where there are multiple-choice questions (see `summarise_options`); and for
        a mixture ``tasks.<name>.<split>.<phase>``, agreement or accuracy of each of its tasks.
    """
    found: dict[str, Any] = {}
    choices: Measured = {}
    by_task: dict[str, Measured] = {}
    settings = {
        "seed": config.seed,
        "draws": config.evaluation.draws,
        "level": config.evaluation.level,
    }
    for phase, given in answers.items():
        for split, options in given.options.items():
            choices.setdefault(split, {})[phase] = summarise_options(options, **settings)
        for name, part in task.parts.items():
            for split, options in given.options.items():
                own_options = [one for one in options if one.dimension.startswith(f"{name}/")]
                if own_options:
                    by_task.setdefault(name, {}).setdefault(split, {})[phase] = {
                        "choices": summarise_options(own_options, **settings)
                    }
            keys = [f"{name}/{one.key}" for one in part.rated]
            for split, predictions in given.ratings.items():
                own = [one for one in predictions if one.dimension in keys]
                if own:
                    values = by_task.setdefault(name, {}).setdefault(split, {})
                    values.setdefault(phase, {}).update(agreement(config, own, keys, metrics))
    if choices:
        found["choices"] = choices
    if by_task:
        found["tasks"] = by_task
    return found


def beside_in_words(measured: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """The tables and lines that go with `measured_beside` and with the spread between wordings."""
    told = []
    for split, phases in metrics.items():
        for phase, summary in phases.items():
            if line := wording_text(summary):
                told.append(f"{split}, {phase.replace('_', '-')}: {line}")
    for name, splits in measured.get("tasks", {}).items():
        for split, phases in splits.items():
            if rated := {phase: one for phase, one in phases.items() if "macro" in one}:
                told.append(agreement_text(rated, heading=f"{name}, {split}"))
    for split, phases in measured.get("choices", {}).items():
        told.append(accuracy_text(phases, f"{split}: accuracy"))
    return told


def objective_of(
    metrics: Mapping[str, Any], measured: Mapping[str, Any], phase: str
) -> float | None:
    """What a sweep maximises: macro Pearson on val, else on test; without ratings the accuracy there."""
    for split in ("val", "test"):
        if split in metrics:
            return metrics[split][phase]["macro"]["pearson"]
        if split in measured.get("choices", {}):
            return measured["choices"][split][phase]["overall"]["likelihood"]["accuracy"]
    return None
