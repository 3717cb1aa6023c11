"""The predictions of ``shards=N`` are joined once all shards are complete; an incomplete shard can be resumed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.data.growing_file import GrowingFile
from dramaeval.evaluation.predictions import Prediction, prediction_line, read_predictions
from dramaeval.launch.sweeps.command import report
from dramaeval.launch.sweeps.folder import OF_SWEEP, SweepFolder, SweepRun, write_run
from dramaeval.launch.sweeps.joining import join_shards, total_text
from dramaeval.launch.sweeps.result_rows import collect
from dramaeval.launch.sweeps.signature import FILE, sign
from dramaeval.launch.sweeps.state import DONE, FAILED, RUNNING, change_state, read_state
from dramaeval.launch.sweeps.table import summary
from dramaeval.stages.fingerprint import NAME


def lines_of(name):
    """The two prediction lines of a clip; ``clip3`` has no score on the second dimension."""
    shares = {"scale": (1.0, 2.0), "distribution": (0.5, 0.5), "expected": 1.5}
    predictions = [
        Prediction(id=name, dimension=key, ratings=(), state="scored", **shares) for key in "ab"
    ]
    if name == "clip3":
        unscored = {"distribution": None, "expected": None, "state": "no end"}
        predictions[1] = replace(predictions[1], **unscored)
    return "".join(prediction_line(each) + "\n" for each in predictions)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Three shards of seven clips, all done, in a sweep that this account has signed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "account"))
    for shard in range(3):
        names = [f"clip{number}" for number in range(7)][shard::3]
        write_shard(tmp_path, shard, names)
    return with_output(SweepFolder(tmp_path), tmp_path / "scores.csv")


def with_output(sweep, output):
    (sweep.path / "multirun.yaml").write_text(f"output: {output}\n")
    sign(sweep.path, OF_SWEEP)
    return sweep


def write_shard(path, shard, names, total=None):
    folder = path / f"{shard}-x"
    folder.mkdir(exist_ok=True)
    write_run(SweepRun(shard, "x", folder, ("shards=3", f"shard={shard}")))
    (folder / "predictions.jsonl").unlink(missing_ok=True)
    file = GrowingFile(folder / "predictions.jsonl")
    file.append("".join(map(lines_of, names)))
    file.close()
    progress = {"done": len(names), "total": total or len(names), "rate": 2.0, "seconds": 1}
    (folder / "progress.json").write_text(json.dumps(progress))
    made_from = {"splits": {"input": {"files": {f"/{shard}/clips.jsonl": "hash"}}}}
    (folder / NAME).write_text(json.dumps(made_from))
    (folder / "clips.json").write_text(json.dumps({name: f"/c/{name}.wav" for name in names}))
    change_state(folder, lambda state: state.ended(DONE))


def test_the_joined_file_has_every_clip_once_in_the_order_of_the_input(sweep):
    text = join_shards(sweep)
    assert "7 clips, joined from 3 shards" in text
    assert "1 question unscored" in text
    ids = [each.id for each in read_predictions(sweep.path / "predictions.jsonl")]
    assert ids == [f"clip{number // 2}" for number in range(14)]
    rows = (sweep.path / "scores.csv").read_text().splitlines()
    assert rows[0] == "id,clip,a,b,a.spread,b.spread,unscored"
    assert [row.split(",")[:3] for row in rows[1:]] == [[f"clip{n}", f"/c/clip{n}.wav", "1.5"] for n in range(7)]  # fmt: skip
    written = (sweep.path / "predictions.jsonl").stat().st_mtime_ns
    assert join_shards(sweep) == text.partition(";")[0]  # nothing is read again
    assert (sweep.path / "predictions.jsonl").stat().st_mtime_ns == written
    assert json.loads((sweep.path / "shards.json").read_text())["clips"] == 7


@pytest.mark.parametrize("damage", ["missing", "cut off", "incomplete"])
def test_a_shard_that_lacks_clips_is_named_and_can_be_resumed(sweep, damage):
    folder = sweep.path / "1-x"
    file = folder / "predictions.jsonl"
    if damage == "missing":
        file.unlink()
    elif damage == "cut off":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        write_shard(sweep.path, 1, ["clip1"], total=2)
    with pytest.raises(ConfigError, match=r"1-x: .*resume=true"):
        join_shards(sweep)
    assert read_state(folder).state == FAILED
    assert not (sweep.path / "predictions.jsonl").exists()
    assert join_shards(sweep) is None  # one shard is not finished
    write_shard(sweep.path, 1, ["clip1", "clip4"])
    assert "7 clips" in join_shards(sweep)


def test_shards_with_a_common_clip_or_with_other_varying_settings_are_not_joined(sweep, tmp_path):
    write_shard(sweep.path, 2, ["clip2", "clip0"])
    with pytest.raises(ConfigError, match="clip0 is in another shard"):
        join_shards(sweep)
    write_run(SweepRun(3, "y", sweep.path / "2-x", ("shards=3", "shard=0")))
    assert "other settings vary" in join_shards(sweep)
    write_run(SweepRun(3, "y", sweep.path / "2-x", ("seed=3",)))
    for number in (0, 1):
        write_run(SweepRun(number, "y", sweep.path / f"{number}-x", (f"seed={number}",)))
    assert join_shards(sweep) is None


@pytest.mark.parametrize("name", ["target.csv", ".bashrc"])
def test_the_report_of_a_sweep_of_another_account_writes_no_file_outside_it(
    sweep, tmp_path, monkeypatch, capsys, name
):
    target = tmp_path / "home" / name
    target.parent.mkdir()
    target.write_text("mine\n")
    with_output(sweep, target)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another account"))
    report(sweep)
    assert target.read_text() == "mine\n"
    assert f"output={target} is not written" in capsys.readouterr().out
    assert len(list(read_predictions(sweep.path / "predictions.jsonl"))) == 14
    # After the user has signed the settings, a file of scores is written, and a file with another ending is not.
    sign(sweep.path, OF_SWEEP)
    report(sweep)
    if name == ".bashrc":
        assert target.read_text() == "mine\n"
        assert "must end with .csv" in capsys.readouterr().out
    else:
        assert target.read_text().startswith("id,clip,a,b")


def test_a_sweep_of_an_account_without_a_key_writes_its_output_at_its_end(sweep):
    (sweep.path / FILE).unlink()
    assert "is not written" in join_shards(sweep)
    assert "the scores are in" in join_shards(sweep, own=True)
    assert (sweep.path / "scores.csv").is_file()


def test_shards_of_different_inputs_are_not_joined(sweep):
    file = sweep.path / "2-x" / NAME
    file.write_text(file.read_text().replace('"hash"', '"other"'))
    with pytest.raises(ConfigError, match="input changed between shard=0 and shard=2"):
        join_shards(sweep)


def test_progress_counts_all_shards_and_estimates_the_time_left(sweep):
    for shard in (0, 1):
        folder = sweep.path / f"{shard}-x"
        values = {"done": 10 * (shard + 1), "total": 100, "rate": 0.5 + shard, "seconds": 20}
        (folder / "progress.json").write_text(json.dumps(values))
        change_state(folder, lambda state: state.begun(requeued=False))
    (sweep.path / "2-x" / "progress.json").unlink()
    assert read_state(sweep.path / "0-x").state == RUNNING
    # 30 of 3 · 100 clips; 270 / (0.5 + 1.5) = 135 s.
    text = "30 of about 300 clips in 3 shards, 2 a second, 2:15 min left"
    assert text in summary(collect(sweep))
    assert total_text([], [], 3) == ""
    done = [{"done": 5, "total": 5, "rate": 1.0}]
    assert total_text(done, [False], 1) == "5 of 5 clips in 1 shards"
