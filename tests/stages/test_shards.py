"""``shards=N`` divides the input, so that every record is in exactly one shard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.score_command import with_a_run_for_each_shard
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.builders import build_task
from dramaeval.stages.read_splits import read_splits
from dramaeval.stages.shards import problems


@pytest.fixture(scope="module")
def base():
    return compose("task=role", "stages=[score]")


def ids_in_shard(base, tmp_path, files, shards, shard):
    config = base.copy()
    for key, value in {"input": files, "shards": shards, "shard": shard}.items():
        OmegaConf.update(config, key, value)
    assert not problems(config)
    read = read_splits(config, build_task(config), conversions=tmp_path / "imported")
    return [record.id for record in read["input"]]


def test_every_record_is_in_exactly_one_shard(base, make_clips, tmp_path):
    files = [str(make_clips(name, count)) for name, count in (("a", 7), ("b", 2))]
    shards = [ids_in_shard(base, tmp_path, files, 3, shard) for shard in range(3)]
    assert shards == [
        ["a-0", "a-3", "a-6", "b-0"], ["a-1", "a-4", "b-1"], ["a-2", "a-5"],
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no file of the input has more than 7 records"):
        ids_in_shard(base, tmp_path, files, 8, 0)
    lines = [json.loads(line) for line in Path(files[0]).read_text().splitlines()]
    lines[6]["id"] = lines[0]["id"] = "a-5"
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadRecordsError) as error:  # also for a shard without these records
        ids_in_shard(base, tmp_path, [str(tmp_path / "c.jsonl")], 4, 3)
    assert [problem.line for problem in error.value.problems] == [6, 7]


def test_the_command_line_starts_a_run_for_each_shard():
    words = ["stages=[score]", "input=a.jsonl", "shards=4", "hydra/launcher=slurm"]
    assert with_a_run_for_each_shard(words) == ["--multirun", *words, "shard=range(4)"]
    assert with_a_run_for_each_shard(["-m", *words]) == ["-m", *words, "shard=range(4)"]
    for others in (["shards=1"], ["shards=4", "shard=2"], ["seed=1"], ["shards=x"]):
        assert with_a_run_for_each_shard(others) == others


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shards": 2}, "needs shard=0 to 1"),
        ({"shards": 2, "shard": 2}, "must be below"),
        ({"shard": 0}, "needs shards=N"),
        ({"shards": 2, "shard": 0, "stages": ["evaluate"]}, "no effect"),
        ({"shards": 2, "shard": 0, "stages": ["score", "export"]}, "no effect"),
    ],
)
def test_contradictory_shards_are_refused(base, values, message):
    config = base.copy()
    for key, value in values.items():
        OmegaConf.update(config, key, value)
    (problem,) = problems(config)
    assert message in problem
