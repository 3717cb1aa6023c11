"""The stage ``import``: the files that it writes can train a judge, and its settings are checked."""

import json

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from presets import preset
from repository import ROOT

from dramaeval.config import fields
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.problems import ConfigError
from dramaeval.config.registration import root
from dramaeval.importing.problems import BadSourceError
from dramaeval.stages import import_records
from dramaeval.stages.builders import build_task
from dramaeval.stages.run_folder import RunFolder

THIRDS = "importer.splits={train: 1, val: 1, test: 1}"
PRESETS = sorted(path.stem for path in (ROOT / "configs" / "importer").glob("*.yaml"))


@pytest.fixture
def table(tmp_path):
    """A table of six clips of three speakers, rated by two raters."""
    lines = ["file,rater,speaker,text,warmth,pace"]
    for number in range(6):
        wave = np.sin(np.arange(4000) * (0.1 + number / 20)) / 3
        soundfile.write(tmp_path / f"c{number}.wav", wave, 8000)
        for rater in ("x", "y"):
            lines.append(f"c{number}.wav,{rater},s{number // 2},Line {number},{number % 5 + 1},3")
    path = tmp_path / "listening test.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(composed, folder, *overrides):
    config = composed("stages=[import]", "importer=csv", *overrides)
    import_records.run(config, RunFolder(folder))


def test_the_written_task_reads_the_written_records_of_each_split(composed, table, tmp_path):
    out = tmp_path / "out"
    run(composed, out, f"importer.file='{table}'", "importer.scale=1..5", THIRDS)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        overrides = ["task=listening_test", f"hydra.searchpath=['file://{out}']"]
        config = compose("launch", overrides=overrides)
    task = build_task(config)
    assert [dimension.key for dimension in task.dimensions] == ["warmth", "pace"]
    assert task.dimensions[0].scale == (1, 2, 3, 4, 5)
    parts = {
        split: task.read(config.task.data[split]).records for split in ("train", "val", "test")
    }
    records = {record.id: record for part in parts.values() for record in part}
    assert len(records) == 6
    assert records["c4"].ratings == {"warmth": (5, 5), "pace": (3, 3)}
    assert "Line: Line 4" in task.context.format(**records["c4"].fields)
    speakers = [{record.character for record in part} for part in parts.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 3
    card = (out / "card.md").read_text()
    assert "6 (0.00 hours) from 12 rows" in card
    assert "| warmth | 1 to 5, 5 points | 12 |" in card


def test_a_scale_that_cannot_be_trained_is_named_in_the_log_and_the_card(
    composed, table, tmp_path, caplog
):
    out = tmp_path / "out"
    with caplog.at_level("INFO"):
        run(composed, out, f"importer.file='{table}'", "importer.scale=1..5/0.01")
    assert "This version cannot train on these records yet" in caplog.text
    assert "task=listening_test" not in caplog.text
    assert "cannot train on these records yet" in (out / "card.md").read_text()


def test_a_source_that_cannot_be_split_is_imported_whole_with_a_hint(
    composed, table, tmp_path, caplog
):
    table.write_text(table.read_text().replace("s1", "s0").replace("s2", "s0"))
    out = tmp_path / "out"
    run(composed, out, f"importer.file='{table}'", THIRDS)
    assert "every part has records: importer.apart=[clip]." in caplog.text
    assert not (out / "records.test.jsonl").exists()
    assert len((out / "records.jsonl").read_text().splitlines()) == 6
    words = [f"importer.file='{table}'", "importer.apart=[clip]", THIRDS]
    run(composed, tmp_path / "two", *words)
    assert (tmp_path / "two" / "records.test.jsonl").exists()


def test_a_bad_source_writes_nothing(composed, table, tmp_path):
    table.write_text(table.read_text().replace("c3.wav", "absent.wav"))
    with pytest.raises(BadSourceError, match="absent"):
        run(composed, tmp_path / "out", f"importer.file='{table}'")
    assert not (tmp_path / "out").exists()


def test_an_import_does_not_overwrite_existing_records(composed, table, tmp_path):
    out = tmp_path / "out"
    run(composed, out, f"importer.file='{table}'")
    before = (out / "records.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"records\.jsonl already"):
        run(composed, out, f"importer.file='{table}'")
    assert (out / "records.jsonl").read_bytes() == before


def test_columns_can_be_set_by_overrides(composed, table, tmp_path):
    words = ["importer.columns.character=none", "importer.dimensions={warm: warmth}"]
    words += ["importer.columns.id='{file}-1'", "importer.ignore=[pace]"]
    run(composed, tmp_path / "out", f"importer.file='{table}'", *words)
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[0]["id"] == "c0.wav-1"
    assert records[0]["annotations"] == {"warm": [1, 1]}
    assert "character" not in records[0]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["stages=[import]"], "needs importer.file=PATH"),
        (["stages=[import,train]", "importer.file=x.csv"], "a separate run"),
        (["importer.file=x.csv"], "is read by stages=[import] only"),
        (["stages=[import]", "importer.file=x", "importer.splits={train: 0}"], "not above 0"),
        (["stages=[import]", "importer.file=x", "importer.decimal=dot"], "point, comma"),
        (["stages=[import]", "importer.file=x", "importer.labels.Bad=one"], "must be a number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_invalid_settings_of_the_import_are_refused(problems_of, words, problem):
    assert any(problem in each for each in problems_of(*words))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_valid_settings(name):
    node = OmegaConf.merge(root().importer, preset(name))
    assert fields.problems(ImporterConfig, node, "importer") == []
    assert isinstance(OmegaConf.to_object(node), ImporterConfig)
