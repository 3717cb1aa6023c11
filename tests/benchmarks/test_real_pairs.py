"""The benchmark of real pairs: its commands compose, and its page has the figures of finished runs."""

import argparse
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from benchmarks import real_pairs
from dramaeval.config import registration
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.stages.builders import build_task

RUBRIC = """
name: so762
version: "1.0"
language: en
dimensions:
  - {key: fluency, annotation: fluency, title: Fluency, scale: [1, 2, 3, 4], description: How fluent the speech is.,
     scores: {1: halting, 2: slow, 3: fair, 4: fluent}}
"""


@pytest.fixture
def given(tmp_path):
    rubrics = tmp_path / "runs" / "configs" / "task" / "rubric"
    rubrics.mkdir(parents=True)
    (rubrics / "so762.yaml").write_text(RUBRIC, "utf-8")
    return argparse.Namespace(
        real=tmp_path / "real", judges=tmp_path / "judges", folder=tmp_path / "runs", records=None, steps=4, seeds=2
    )  # fmt: skip


@pytest.mark.parametrize("experiment", real_pairs.experiments(), ids=lambda each: each.name)
def test_every_command_composes_to_the_task_that_it_names(given, experiment):
    registration.register()
    training, comparison = real_pairs.commands(experiment, 1, given)
    tasks = []
    for words in (training, comparison):
        assert words[:2] == ["launch.py", f"--config-dir={given.folder / 'configs'}"]
        search = f"hydra.searchpath=[file://{given.folder / 'configs'}]"
        with initialize_config_dir(str(Path("configs").resolve()), version_base="1.3"):
            config = compose("launch", overrides=[search, *words[2:-1]])
        tasks.append(build_task(config))
        assert words[-1].startswith("hydra.run.dir=")
    trained, compared = tasks
    parts = list(trained.parts.values()) or [trained]
    assert {part.name for part in parts} >= {experiment.trained} - {"mixed"}
    matching_parts = [part for part in parts if part.name in (compared.name, "speech", "archetype")]
    assert matching_parts
    for part in matching_parts:
        # A judge is compared with the texts and dimensions that it was trained with.
        assert (part.system, part.context) == (compared.system, compared.context)
        assert {d.key for d in compared.dimensions} <= {d.key for d in part.dimensions}
    if experiment.corpus.rubric:
        assert compared.text_fields == ()
        assert (compared.rule.prompt, compared.rule.apart, compared.rule.margin) == (
            "char_age",
            "character",
            1,
        )


def test_the_page_has_means_over_seeds_and_paired_differences(given):
    scored, direct = real_pairs.experiments()[:2]
    for experiment, right in ((scored, 6), (direct, 9)):
        for seed in range(2):
            _, folder = real_pairs.run_folders(experiment, seed, given.folder)
            folder.mkdir(parents=True)
            predictions = [
                PairPrediction(
                    id=f"p{n}", dimension="d", p_a=0.6 if n < right else 0.2, p_tie=0.2,
                    p_b=0.2 if n < right else 0.6, votes=(1.0, 1.0), clip_a=f"a{n}", clip_b=f"b{n}",
                )
                for n in range(12)
            ]  # fmt: skip
            lines = [json.dumps({"split": "test", **each.to_json()}) + "\n" for each in predictions]
            (folder / "predictions.jsonl").write_text("".join(lines), "utf-8")
            summary = summarise_pairs(predictions, ["d"], seed=0, draws=50)
            metrics = {"pairs": {"test": {"final": summary}}}
            (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    text = real_pairs.page(real_pairs.measured(given))
    row = next(
        line for line in text.splitlines() if line.startswith("| archetype: pairs, scored | 2 |")
    )
    assert "| 0.500 [" in row  # 6 of 12
    assert "| 0.000 |" in row  # no spread between equal seeds
    row = next(
        line for line in text.splitlines() if line.startswith("| archetype: pairs, direct | 2 | +")
    )
    assert "| +0.250 [" in row  # 9 − 6 of 12
    assert "checkpoint=RUNS/archetype-pairs-direct.0" in text
