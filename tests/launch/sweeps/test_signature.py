"""Settings of a sweep that another account has written are used only with the user's consent."""

import json

import optuna
import pytest
from repository import ROOT

from dramaeval.config.problems import ConfigError
from dramaeval.launch.slurm import job_of
from dramaeval.launch.sweeps.command import require_own
from dramaeval.launch.sweeps.folder import OF_RUN, OF_SWEEP, SweepFolder, SweepRun
from dramaeval.launch.sweeps.pruning import pruner_of
from dramaeval.launch.sweeps.signature import FILE, key_file, sign, unsigned


@pytest.fixture
def account(tmp_path, monkeypatch):
    """Switch to the account with this name; each account has another folder for its key."""

    def switch_to(name):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / name))

    switch_to("one")
    return switch_to


@pytest.fixture
def sweep(account, add_run, tmp_path):
    """A sweep of one run that the account ``one`` wrote."""
    hydra = add_run(0, ["seed=0"]) / ".hydra"
    hydra.mkdir()
    for name in OF_RUN:
        (hydra / name).write_text("a: 1\n")
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    folder = SweepFolder(tmp_path)
    folder.sign()
    return folder


def test_a_signature_is_valid_only_for_the_account_that_signed(sweep, account):
    assert sweep.unsigned() == []
    account("two")
    names = {"multirun.yaml", *OF_RUN}
    assert {file.name for file in sweep.unsigned()} == names
    sweep.sign()
    assert sweep.unsigned() == []
    account("one")
    assert {file.name for file in sweep.unsigned()} == names


@pytest.mark.parametrize(
    "name", ["multirun.yaml", *(f"0-00000000/.hydra/{file}" for file in OF_RUN)]
)
def test_a_changed_file_is_unsigned(sweep, name):
    file = sweep.path / name
    file.write_text(file.read_text() + "b: 2\n")
    assert sweep.unsigned() == [file]
    with pytest.raises(ConfigError) as raised:
        require_own(sweep, trust=False)
    assert f"{name}. These files name classes" in str(raised.value)
    assert "launch.trust=true" in str(raised.value)
    require_own(sweep, trust=True)
    require_own(sweep, trust=False)


@pytest.mark.parametrize("text", ["", "[1]", '{"multirun.yaml": 3}', '{"multirun.yaml": "ä"}'])
def test_a_malformed_signature_file_counts_as_unsigned(sweep, text):
    (sweep.path / FILE).write_text(text, encoding="utf-8")
    assert sweep.unsigned() == [sweep.path / "multirun.yaml"]


def test_the_key_is_private_and_a_readable_or_changed_key_is_not_used(account, tmp_path):
    (tmp_path / "multirun.yaml").write_text("a: 1\n")
    sign(tmp_path, OF_SWEEP)
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert [file.name for file in key_file().parent.iterdir()] == [key_file().name]
    key_file().chmod(0o644)
    assert unsigned(tmp_path, OF_SWEEP)
    key_file().chmod(0o600)
    assert not unsigned(tmp_path, OF_SWEEP)
    key_file().write_text("00\n")
    assert unsigned(tmp_path, OF_SWEEP)


def test_nothing_is_signed_if_the_key_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    (tmp_path / "multirun.yaml").write_text("a: 1\n")
    sign(tmp_path, OF_SWEEP)
    assert unsigned(tmp_path, OF_SWEEP)
    assert not (tmp_path / FILE).exists()


def test_resuming_a_sweep_of_another_account_runs_nothing(launch, sweep, tmp_path):
    (tmp_path / "multirun.yaml").write_text(
        "hydra: {launcher: {_target_: torch.utils.collect_env.run, command: 'touch hurt'}, sweeper: "
        "{_target_: torch.utils.collect_env.run, command: 'touch hurt'}}\n"
    )
    done = launch(f"sweep={tmp_path}", "resume=true")
    assert done.returncode == 1
    assert "was not written by this account" in done.stderr
    assert not (ROOT / "hurt").exists()


def write_search(folder, pruner):
    (folder / "multirun.yaml").write_text(f"hydra: {{sweeper: {{pruner: {pruner}}}}}")


def test_pruners_of_optuna_need_no_consent(account, tmp_path):
    write_search(
        tmp_path,
        "{_target_: optuna.pruners.PatientPruner, patience: 2, wrapped_pruner: "
        "{_target_: optuna.pruners.MedianPruner}}",
    )
    assert isinstance(pruner_of(tmp_path), optuna.pruners.PatientPruner)


@pytest.mark.parametrize(
    "pruner",
    [
        "{_target_: torch.utils.collect_env.run, command: id}",
        "{_target_: optuna.pruners.PatientPruner, wrapped_pruner: {_target_: subprocess.run}}",
        "{_target_: optuna.pruners.check_not_there}",
        "{_target_: [optuna.pruners.MedianPruner]}",
    ],
)
def test_other_pruners_are_built_only_if_this_account_wrote_the_sweep(account, tmp_path, pruner):
    write_search(tmp_path, pruner)
    with pytest.raises(ConfigError, match=r"none of optuna\.pruners: it is not run"):
        pruner_of(tmp_path)
    write_search(tmp_path, "{_target_: builtins.dict, own: 1}")
    sign(tmp_path, OF_SWEEP)
    assert pruner_of(tmp_path) == {"own": 1}


@pytest.mark.parametrize("job", ["--user=me", "1 2", "1_2_3", "", "../1"])
def test_a_job_id_in_slurm_json_must_be_a_number(tmp_path, job):
    run = SweepRun(0, "0", tmp_path, ())
    (tmp_path / "slurm.json").write_text(json.dumps({"job": job}))
    with pytest.raises(ConfigError, match="is not the number of a SLURM job"):
        job_of(run)
    (tmp_path / "slurm.json").write_text('{"job": "12_3"}')
    assert job_of(run) == "12_3"
