"""A damaged file in a sweep makes only its own run unreadable."""

import json

import optuna
import pytest
from damage import WAYS, damage
from omegaconf import OmegaConf

from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import DamagedFileError, sealed, write_listed
from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.launch.slurm import SlurmJobRunner, job_of
from dramaeval.launch.sweeps import command
from dramaeval.launch.sweeps.command import _reset
from dramaeval.launch.sweeps.folder import SweepFolder, load_config, write_run
from dramaeval.launch.sweeps.pruning import pruning
from dramaeval.launch.sweeps.result_rows import collect, state_of
from dramaeval.launch.sweeps.search import (
    JOURNAL,
    STUDY,
    _trial_of,
    drop_torn_line,
    journal,
    readable_journal,
)
from dramaeval.launch.sweeps.state import RunState, change_state, read_state
from dramaeval.launch.sweeps.table import write_tables


@pytest.fixture
def sweep(add_run, tmp_path):
    """Five finished runs, whose files have hashes."""
    for number in range(5):
        folder = add_run(number, [f"seed={number}"], RunState(state="done", objective=number / 10))
        (folder / ".hydra").mkdir()
        write_listed(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml([f"seed={number}"]))
        macro = {"pearson": number / 10, "interval": {"pearson": [0.0, 0.5]}}
        write_listed(folder / "metrics.json", json.dumps({"val": {"final": {"macro": macro}}}))
    for run in SweepFolder(tmp_path).runs():
        write_run(run)
    return SweepFolder(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "metrics.json", "run.json"])
@pytest.mark.parametrize(
    ("way", "listed"),
    # Without a hash a changed digit cannot be detected.
    [("cut off", True), ("changed", True), ("cut off", False)],
    ids=["cut off", "changed", "cut off, of an earlier version"],
)
def test_a_damaged_run_is_unreadable_in_the_table(sweep, name, way, listed):
    before = collect(sweep)
    folder = before.rows[4].run.folder
    if not listed:
        for file in folder.glob("dramaeval_manifest.json"):
            file.unlink()
        values = json.loads((folder / name).read_text())
        values.pop("xxh128", None)
        (folder / name).write_text(json.dumps(values))
    damage(folder / name, way)
    table = write_tables(sweep.path)
    assert [row.description for row in table.rows[:4]] == ["done"] * 4
    assert table.rows[4].description.startswith(f"unreadable: {name}")
    assert [row.run for row in table.rows[:4]] == [row.run for row in before.rows[:4]]
    assert table.rows[4].run.number == 4
    assert table.rows[4].run.settings == {"seed": "4"}
    # The damaged run is not considered for the best run, and is run again.
    assert table.best.runs == [0, 1, 2, 3]
    assert [row.run.number for row in table.unfinished] == [4]
    kept = json.loads((sweep.path / "sweep.json").read_text())
    assert kept["counts"] == {"done": 4, "unreadable": 1}
    assert kept["runs"][4]["overrides"] == {"seed": "4"}
    _reset([table.rows[4].run])
    assert collect(sweep).rows[4].run.problem is None
    assert read_state(folder).state == "waiting"


@pytest.mark.parametrize("name", ["metrics.json", "run.json"])
@pytest.mark.parametrize("state", ["done", "failed", "never started", "interrupted", "waiting"])
def test_a_damaged_run_of_slurm_is_repeated_unless_slurm_will_start_it(
    sweep, monkeypatch, capsys, state, name
):
    """The five runs have jobs of SLURM; the last one has a damaged file."""
    for run in sweep.runs():
        (run.folder / "slurm.json").write_text(sealed({"job": f"12_{run.number}"}))
    folder = sweep.runs()[4].folder
    change_state(folder, lambda _: RunState(state=state))
    damage(folder / name, "cut off")
    resumed = []
    sweeper = type("Sweeper", (), {"resume": lambda self, runs: resumed.extend(runs)})()
    monkeypatch.setattr(command, "_sweeper", lambda sweep, config: sweeper)
    monkeypatch.setattr(command.shutil, "which", lambda program: None)
    command.resume(sweep, OmegaConf.create({"launch": {"check": False}}))
    queued = state in ("interrupted", "waiting")
    assert [run.number for run in resumed] == ([] if queued else [4])
    assert ("is not resumed" in capsys.readouterr().out) == queued
    assert (folder / "slurm.json").exists() == queued


def test_a_run_that_failed_keeps_its_reason(add_run, tmp_path):
    folder = add_run(0, ["seed=0"], RunState(state="failed", reason="no memory"), pearson=0.5)
    damage(folder / "metrics.json", "cut off")
    (run,) = SweepFolder(tmp_path).runs()
    assert state_of(run).reason == "no memory"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["config.yaml", "hydra.yaml"])
def test_damaged_settings_of_a_run_are_an_error(tmp_path, name, way):
    """A YAML file that is cut off between two lines is still valid YAML, with fewer settings."""
    (tmp_path / ".hydra").mkdir()
    write_listed(tmp_path / ".hydra" / "hydra.yaml", "hydra:\n  job:\n    name: launch\n")
    write_listed(tmp_path / ".hydra" / "config.yaml", "seed: 1\ndevice: cpu\n")
    assert load_config(tmp_path).seed == 1
    damage(tmp_path / ".hydra" / name, way)
    with pytest.raises(DamagedFileError, match=name):
        load_config(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_settings_of_a_sweep_are_an_error(tmp_path, way):
    write_listed(tmp_path / "multirun.yaml", "seed: 1\nhydra:\n  mode: MULTIRUN\n")
    assert SweepFolder(tmp_path).master().seed == 1
    damage(tmp_path / "multirun.yaml", way)
    with pytest.raises((DamagedFileError, ConfigError), match=r"multirun\.yaml has"):
        SweepFolder(tmp_path).master()


@pytest.mark.parametrize("way", WAYS)
def test_only_the_run_with_a_damaged_slurm_json_fails(sweep, way):
    runs = sweep.runs()
    change_state(runs[1].folder, lambda state: RunState())
    (runs[1].folder / "slurm.json").write_text(sealed({"job": "12_1"}))
    assert job_of(runs[1]) == "12_1"
    damage(runs[1].folder / "slurm.json", way)
    assert job_of(runs[1]) is None
    job_runner = SlurmJobRunner(sweep, {"poll_seconds": 1}, runs[1:])
    job_runner.poll()
    assert job_runner.finished
    assert read_state(runs[1].folder).reason.startswith("slurm.json is damaged")
    assert [read_state(run.folder).state for run in runs[2:]] == ["done"] * 3


@pytest.mark.parametrize("way", WAYS)
def test_a_run_with_a_damaged_trial_json_is_not_pruned(tmp_path, add_run, caplog, way):
    folder = add_run(0, ["seed=0"])
    (folder / "trial.json").write_text(sealed({"trial": 3}))
    (run,) = SweepFolder(tmp_path).runs()
    assert _trial_of(run) == 3
    damage(folder / "trial.json", way)
    assert _trial_of(run) is None
    assert pruning(folder, SINGLE_PROCESS, None) == []
    assert "trial.json is damaged" in caplog.text


def open_study(folder):
    with readable_journal(folder):
        return optuna.create_study(study_name=STUDY, storage=journal(folder), load_if_exists=True)


def test_a_journal_with_an_incomplete_last_line_is_continued(tmp_path):
    study = open_study(tmp_path)
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[:-7])
    drop_torn_line(tmp_path)
    study = open_study(tmp_path)
    assert [trial.value for trial in study.trials] == [1.0, None]
    study.tell(study.ask(), 3.0)
    assert [trial.value for trial in open_study(tmp_path).trials] == [1.0, None, 3.0]


def test_a_damaged_journal_is_reported(tmp_path):
    study = open_study(tmp_path)
    study.tell(study.ask(), 1.0)
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[:10] + b"\0" + content[11:])
    with pytest.raises(DamagedFileError, match=rf"{JOURNAL} is damaged: Optuna cannot read it"):
        open_study(tmp_path)
