"""Reads the predictions files of a run, ``predictions.jsonl`` and ``predictions.zero_shot.jsonl``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.data.jsonl import json_lines
from dramaeval.data.manifest import damage_of, is_listed, set_aside
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.pair_predictions import PairPrediction, is_pair_line
from dramaeval.evaluation.predictions import Prediction

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhasePredictions:
    """The predictions of one phase, by split.

    Attributes:
        ratings: predicted scores.
        options: answers to multiple-choice questions.
        pairs: comparisons of two clips.
    """

    ratings: dict[str, list[Prediction]] = field(default_factory=dict)
    options: dict[str, list[OptionPrediction]] = field(default_factory=dict)
    pairs: dict[str, list[PairPrediction]] = field(default_factory=dict)

    def of_task(self, name: str) -> PhasePredictions:
        """The predictions of one task of a mixture; splits without predictions of the task are left out."""

        def select(by_split: dict[str, list[Any]]) -> dict[str, list[Any]]:
            selected = {
                split: [p for p in predictions if p.dimension.startswith(f"{name}/")]
                for split, predictions in by_split.items()
            }
            return {split: predictions for split, predictions in selected.items() if predictions}

        return PhasePredictions(select(self.ratings), select(self.options), select(self.pairs))


def read_phase(file: Path) -> PhasePredictions:
    """Read the predictions of a phase from a file."""
    phase = PhasePredictions()
    for _, line in json_lines(file):
        values = json.loads(line)
        split = values["split"]
        if "options" in values:
            phase.options.setdefault(split, []).append(OptionPrediction.from_json(values))
        elif is_pair_line(values):
            phase.pairs.setdefault(split, []).append(PairPrediction.from_json(values))
        else:
            phase.ratings.setdefault(split, []).append(Prediction.from_json(values))
    return phase


def is_intact(file: Path) -> bool:
    """Whether a predictions file exists and is undamaged; a damaged file is renamed, and scoring writes it again."""
    if not file.is_file():
        return False
    if damage := set_aside_damaged(file, _require_predictions):
        log.warning("%s: %s. It is scored again.", file, damage)
    return damage is None


def set_aside_damaged(file: Path, read: Callable[[Path], Any]) -> str | None:
    """Rename a file if it is damaged.

    Args:
        file: a file with results of a run.
        read: a function that reads the file, to check a file that an earlier version wrote without a hash.

    Returns:
        a description of the damage with the new name; None for an undamaged file.
    """
    damage = damage_of(file)
    if damage is None and not is_listed(file):
        try:
            read(file)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            damage = f"{file.name} is damaged: {error}"
    return damage and f"{damage} ({set_aside(file).name} keeps it)"


def _require_predictions(file: Path) -> None:
    phase = read_phase(file)
    if not (phase.ratings or phase.options or phase.pairs):
        raise ValueError("it is empty")
