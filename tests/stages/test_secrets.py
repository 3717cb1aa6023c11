"""Secrets are recognised by name, by form and by value in the environment, and are written to no file."""

import json
import logging
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from dramaeval.config.problems import ConfigError
from dramaeval.config.secrets import HIDDEN, guard, mask_file, masked, refuse, without_secrets
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.launch.sweeps.folder import SweepFolder
from dramaeval.launch.sweeps.state import RunState, change_state, read_state
from dramaeval.launch.sweeps.table import write_tables
from dramaeval.stages.logging_setup import set_up_logging
from dramaeval.stages.run_folder import RunFolder

KEY = "a0b1c2d3e4" * 4
HF_TOKEN = "hf_" + "aB3dE" * 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"token {HF_TOKEN}.", f"token hf_{HIDDEN}."),
        ("sk-proj-" + "x1Y2" * 10, f"sk-{HIDDEN}"),
        ("AKIA" + "IOSFODNN7EXAMPLE", f"AKIA{HIDDEN}"),
        ("ghp_" + "a1" * 18, f"ghp_{HIDDEN}"),
        ("https://user:pass word@host/a", "https://user:pass word@host/a"),  # not a valid address
        ("https://user:p%40ss@host:80/a?b=1", f"https://user:{HIDDEN}@host:80/a?b=1"),
        ("s3://b?X-Amz-Signature=abc&access_token=def", f"s3://b?X-Amz-Signature={HIDDEN}&access_token={HIDDEN}"),
        ("export HF_TOKEN='a b'; x", f"export HF_TOKEN={HIDDEN}; x"),
        ("+logger.wandb.api_key=abc,seed=0", f"+logger.wandb.api_key={HIDDEN},seed=0"),
        ("Authorization: Bearer abcdefghijklmnopqrst", f"Authorization: Bearer {HIDDEN}"),
        (
            "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
            f"-----BEGIN PRIVATE KEY-----{HIDDEN}-----END PRIVATE KEY-----",
        ),
    ],
)  # fmt: skip
def test_secrets_of_known_forms_are_masked(text, expected):
    assert without_secrets(text) == expected
    assert without_secrets(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        KEY,  # a commit hash looks the same
        "task-role_variation-realism_lora-long-name-of-a-run",
        "pad_token=<pad> eos_token=<|im_end|> max_new_tokens=64 tokens=335",
        "http://host:8080/@user git@host:path a@b.c",
        "WANDB_API_KEY=$KEY api_key=${oc.env:WANDB_API_KEY} api_key=null",
        "hf_hub sk-learn AKIAN",
    ],
)
def test_other_texts_are_unchanged(text):
    assert without_secrets(text) == text


def test_the_value_of_a_secret_variable_is_masked_in_every_encoding(monkeypatch):
    secret = """it's "a" <key> & ü/é\\"""
    monkeypatch.setenv("MY_SERVICE_TOKEN", secret)
    for text in (
        secret,
        json.dumps({"a": secret}),
        json.dumps({"a": secret}, ensure_ascii=False),
        yaml.safe_dump({"a": secret}, allow_unicode=True, width=1000),
        "https://h/it%27s%20%22a%22%20%3Ckey%3E%20%26%20%C3%BC/%C3%A9%5C",
        "<p>it&#x27;s &quot;a&quot; &lt;key&gt; &amp; ü/é\\</p>",
    ):
        assert HIDDEN in without_secrets(text), text


def test_values_in_containers_are_masked_by_key_and_by_value(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", KEY)
    monkeypatch.setenv("SHORT_TOKEN", "role")
    monkeypatch.setenv("SSH_KEY", "/home/user/key")
    values = {
        "path": f"https://user:{KEY}@host/file",
        "list": [{"password": "x"}, KEY],
        "env_set": {"HF_TOKEN": "x", "OMP_NUM_THREADS": "1"},
        "name": "role",
        "pad_token": "<pad>",
        "hub_token": None,
        "key": "pitch",
        "number": 3,
        "file": "/home/user/key",
    }
    assert masked(values) == {
        "path": f"https://user:{HIDDEN}@host/file",
        "list": [{"password": HIDDEN}, HIDDEN],
        "env_set": {"HF_TOKEN": HIDDEN, "OMP_NUM_THREADS": "1"},
        "name": "role",
        "pad_token": "<pad>",
        "hub_token": None,
        "key": "pitch",
        "number": 3,
        "file": "/home/user/key",
    }


@pytest.mark.slow
def test_a_setting_with_the_name_of_a_secret_is_refused(composed):
    with pytest.raises(ConfigError) as raised:
        guard(composed("logger=wandb", f"+logger.wandb.api_key={KEY}"))
    assert "logger.wandb.api_key is a secret" in str(raised.value)
    assert KEY not in str(raised.value)
    guard(composed("logger=wandb"))
    guard(composed("+logger.wandb.api_key='${oc.env:WANDB_API_KEY}'"))
    hydra = OmegaConf.create({"job": {"env_set": {"HF_TOKEN": KEY, "A_KEY": "${oc.env:B}"}}})
    with pytest.raises(ConfigError, match=r"1 problem:\n.*hydra.job.env_set.HF_TOKEN is a secret"):
        guard(composed(), hydra)


def test_a_setting_with_a_secret_value_is_warned_of_or_refused_if_it_cannot_be_masked(
    composed, caplog, monkeypatch
):
    guard(composed(f"task.system={HF_TOKEN}"))
    assert "task.system seems to hold a secret" in caplog.text
    with pytest.raises(ConfigError, match=r"trainer\.args\.run_name seems to hold a secret"):
        guard(composed(f"trainer.args.run_name={HF_TOKEN}"))
    monkeypatch.setenv("HF_TOKEN", KEY)
    with pytest.raises(ConfigError, match=r"trainer\.args\.run_name seems to hold a secret"):
        guard(composed("trainer.args.run_name='${oc.env:HF_TOKEN}'"))


@pytest.mark.parametrize(
    ("hydra", "key"),
    [
        ({"launcher": {"setup": ["export WANDB_API_KEY=abcdefgh"]}}, "hydra.launcher.setup.0"),
        ({"launcher": {"additional": {"comment": HF_TOKEN}}}, "hydra.launcher.additional.comment"),
        ({"job": {"env_set": {"HTTPS_PROXY": "http://u:pw@h:1"}}}, "hydra.job.env_set.HTTPS_PROXY"),
        (
            {"sweeper": {"params": {"task.system": f"{HF_TOKEN},b"}}},
            "hydra.sweeper.params.task.system",
        ),
    ],
)
def test_a_sweep_with_a_secret_in_its_settings_is_refused(composed, hydra, key):
    with pytest.raises(ConfigError) as raised:
        refuse(composed(), OmegaConf.create(hydra))
    assert f"{key} seems to hold a secret" in str(raised.value)
    refuse(composed(), OmegaConf.create({"launcher": {"setup": ["export WANDB_API_KEY=$KEY"]}}))


def test_secrets_in_a_yaml_file_are_masked_and_other_files_are_unchanged(tmp_path):
    file = tmp_path / "hydra.yaml"
    file.write_text(
        f"hydra:\n  env_set: {{HF_TOKEN: abc}}\n  a: ${{b}}\n  tasks: ['+x={KEY}', '{HF_TOKEN}']\n"
    )
    mask_file(file, [KEY])
    assert yaml.safe_load(file.read_text()) == {
        "hydra": {
            "env_set": {"HF_TOKEN": HIDDEN},
            "a": "${b}",
            "tasks": [f"+x={HIDDEN}", f"hf_{HIDDEN}"],
        }
    }
    file.write_text("a:   1  # as Hydra wrote it\n")
    mask_file(file)
    assert file.read_text() == "a:   1  # as Hydra wrote it\n"


def test_files_of_a_run_and_a_sweep_are_masked(composed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("MY_SERVICE_TOKEN", KEY)
    folder = RunFolder(tmp_path / "run")
    folder.open(composed("task.system='${oc.env:MY_SERVICE_TOKEN}'", f"task.context={HF_TOKEN}"))
    write_json_atomic(folder.environment, {"a": KEY})
    write_text_atomic(folder.report, f"<p>{HF_TOKEN}</p>")
    set_up_logging(folder.log)
    logging.getLogger("dramaeval").warning("%s", KEY)
    logging.getLogger("other").error("failed", exc_info=ValueError(HF_TOKEN))
    logging.getLogger().handlers[-1].close()
    sys.excepthook(ValueError, ValueError(HF_TOKEN), None)
    printed = capsys.readouterr()
    assert printed.err == f"ValueError: hf_{HIDDEN}\n"
    assert KEY not in printed.out
    run = tmp_path / "0-00000000"
    run.mkdir()
    (run / "run.json").write_text(
        json.dumps({"number": 0, "id": "0", "overrides": [f"a={KEY}", f"b={HF_TOKEN}"]})
    )
    change_state(run, lambda state: state.failed(f"{KEY} is wrong"))
    assert read_state(run) == RunState(state="failed", reason=f"{HIDDEN} is wrong")
    write_tables(tmp_path)
    (run / "run.json").unlink()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 9
    for file in files:
        assert KEY not in file.read_text(), file
        assert HF_TOKEN not in file.read_text(), file
    write_text_atomic(tmp_path / "predictions.jsonl", KEY, verbatim=True)
    assert (tmp_path / "predictions.jsonl").read_text() == KEY


def test_the_settings_that_a_sweep_reads_back_are_not_masked(composed, tmp_path):
    master = OmegaConf.create({"hydra": {}, "note": f"once {HF_TOKEN}"})
    SweepFolder(tmp_path).write_master(master)
    assert SweepFolder(tmp_path).master() == master


@pytest.mark.slow
def test_a_refused_command_writes_no_secret(launch, tmp_path):
    """Hydra writes all settings before the command is refused for one of them."""
    words = [
        f"+hydra.job.env_set.HF_TOKEN={KEY}", f"task.context={HF_TOKEN}", f"task.system={KEY}",
        f"hydra.run.dir={tmp_path}", "plan=true",
    ]  # fmt: skip
    done = launch(*words)
    assert done.returncode == 1
    assert "hydra.job.env_set.HF_TOKEN is a secret" in done.stderr
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"config.yaml", "hydra.yaml", "overrides.yaml"} <= {file.name for file in files}
    for file in files:
        assert KEY not in file.read_text(), file
        assert HF_TOKEN not in file.read_text(), file
