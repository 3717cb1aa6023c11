"""Fixtures for reports: Chromium, and the input of a page for a small run."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from browser import chromium

from dramaeval.data.records import Record
from dramaeval.evaluation.comparison import compare
from dramaeval.evaluation.report.shared_context import Findings
from dramaeval.evaluation.slices import slices
from dramaeval.evaluation.summary import summarise

__all__ = ["chromium"]

TITLES = {"pitch_dynamics": "Pitch dynamics", "trait_embodiment": "Trait embodiment"}
TEXT = '<script>document.title = "broken"</script> & "quotes"'


@dataclass
class Judged:
    """The records and one judge's predictions on them."""

    records: list[Record]
    predictions: list


@pytest.fixture
def judged(make_clips, make_prediction, composed):
    """A function that builds records with clips and predictions; their texts break a page that does not escape them."""
    from dramaeval.data.records import read_records
    from dramaeval.stages.builders import build_task

    task = build_task(composed("task.dimensions=[pitch_dynamics,trait_embodiment]"))
    file = make_clips("test", 14, seconds=(0.5, 0.9, 1.3))
    records = read_records(file, task.record_format()).records
    records = [
        replace(
            record,
            fields={**record.fields, "local_scene": TEXT, "language": "en", "system": f"s{n % 3}"},
        )
        for n, record in enumerate(records)
    ]

    def make(noise=0.5, seed=0):
        rng = np.random.default_rng(seed)
        predictions = []
        for record in records:
            for dimension in task.dimensions:
                ratings = task.ratings(record, dimension)
                centre = np.mean(ratings) + rng.normal(0, noise)
                weights = np.exp(-((np.arange(1, 6) - centre) ** 2))
                probabilities = weights / weights.sum()
                predictions.append(
                    make_prediction(
                        record.id, float(probabilities @ np.arange(1, 6)), ratings, dimension=dimension.key,
                        distribution=tuple(probabilities.tolist()), group=str(record.fields["character"]),
                        system=record.system,
                    )
                )  # fmt: skip
        return Judged(records, predictions)

    return make


@pytest.fixture
def findings(judged, tmp_path):
    """The input of a page, for a run of two phases with a control."""
    keys = list(TITLES)
    after, before, without_sound = judged(0.3), judged(2.0, seed=1), judged(3.0, seed=2)
    settings = {"seed": 0, "draws": 50, "level": 0.95}
    gain = compare(after.predictions, before.predictions, keys, **settings)
    metrics = {
        "test": {
            "zero_shot": summarise(before.predictions, keys, **settings),
            "final": summarise(after.predictions, keys, **settings),
        },
        "gain": {"test": gain},
        "controls": {
            "test": {
                "silence": {
                    "what": "silence", "reason": None,
                    "gain": compare(after.predictions, without_sound.predictions, keys, **settings),
                },
                "phrasing": {"what": "wordings", "reason": "one wording", "gain": None},
            }
        },
        "slices": {
            "test": slices(
                after.predictions, after.records, [], ["language", "length", "studio"], **settings
            )
        },
        "about": {
            "overlaps": ["test and train share a scene"],
            "skipped": {"test": {"records": 1, "problems": [
                {"line": 3, "id": "x", "key": "wav_path", "problem": "no such file: <b>x.wav</b>"}
            ]}},
        },
    }  # fmt: skip
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        for step in range(1, 6):
            writer.add_scalar("train/loss", 2 / step, step)
            writer.add_scalar("eval/pearson", step / 10, step)
    return Findings(
        name="run <1>", metrics=metrics, split="test", predictions=after.predictions,
        records=after.records, titles=TITLES, text_fields=("local_scene", "transcript"),
        config="model:\n  path: <tiny>\n", environment={"seed": 0, "versions": {"torch": "2"}},
        tensorboard=Path(tmp_path / "tensorboard"), max_seconds=30, facts=["task role"],
    )  # fmt: skip
