"""W&B: an offline run in the run folder that continues after a resume, without the key in any file."""

import json
import struct
import time

import pytest
from wandb.proto import wandb_internal_pb2

from dramaeval.config.problems import ConfigError
from dramaeval.config.secrets import HIDDEN
from dramaeval.stages import train
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.run_folder import RunFolder
from dramaeval.training.callbacks.weights_and_biases import key_is_known

KEY = "a0b1c2d3e4" * 4


class KilledError(Exception):
    pass


QUICK = (
    "device=cpu", "logger=[tensorboard,wandb]", "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=2", "trainer.args.logging_steps=1", "evaluation.draws=20",
    "trainer.args.eval_steps=2", "trainer.args.save_steps=2", "evaluation.zero_shot=false",
)  # fmt: skip


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def read_back(file):
    """The records of a .wandb file, which are protobuf messages in LevelDB's log format (blocks of 32 KiB)."""
    data, at, whole, found = file.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or last of several
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


def read_finished(file):
    """Read the records once wandb's own process has written the last one, which may be after the run's end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = read_back(file)
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise AssertionError(f"{file} was not finished")


def history(records):
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


@pytest.mark.slow
def test_a_resumed_run_continues_its_wandb_run_and_stores_no_key(
    composed, make_clips, tmp_path, monkeypatch, no_key, small_judge
):
    """The first start fails after step 2 of 4, and the second resumes it, offline although a key is set."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    # The key is also in the command line, which W&B stores.
    monkeypatch.setattr("sys.argv", ["launch.py", f"+task.note={KEY}", "seed=0"])
    files = {split: make_clips(split, 6, seed=at) for at, split in enumerate(("train", "val"))}
    data = [f"task.data.{split}={file}" for split, file in files.items()]
    named = ["logger.wandb.mode=offline", f"logger.wandb.name={KEY}", f"logger.wandb.tags=[{KEY}]"]
    words = (*data, "trainer.args.max_steps=4", *named, f"task.system={KEY}")
    config = composed(*QUICK, small_judge, *words)
    check(config)
    folder = RunFolder(tmp_path / "a run")

    from dramaeval.training.callbacks.progress import TrainingProgress

    def raise_at_step_3(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(TrainingProgress, "on_step_begin", raise_at_step_3)
        first = RunContext(config, folder)
        folder.open(config)
        with pytest.raises(KilledError), first.loggers:
            train.run(first)
    second = RunContext(config, folder)
    folder.open(config)
    with second.loggers:
        run_stages(second)

    stored = sorted((folder.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(stored) == 2
    assert len({file.name for file in stored}) == 1
    parts = [read_finished(file) for file in stored]
    runs = [next(r.run for r in part if r.WhichOneof("record_type") == "run") for part in parts]
    assert runs[0].run_id == runs[1].run_id == (folder.path / "wandb" / "run-id").read_text()
    assert runs[0].project == "dramaeval"
    assert (runs[0].display_name, list(runs[0].tags)) == (HIDDEN, [HIDDEN])
    sent = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert sent["run_id"] == first.id
    assert sent["trainer"]["args"]["max_steps"] == 4
    assert sent["task"]["data"]["train"] == str(files["train"])

    before, after = map(history, parts)
    steps = [
        [row["train/global_step"] for row in part if "train/loss" in row]
        for part in (before, after)
    ]
    assert steps[0][-1] == 3
    assert steps[1] == [3, 4]
    assert any("eval/pearson" in row for row in after)

    table = next(row for row in after if "agreement/path" in row)
    file = stored[1].parent / "files" / table["agreement/path"]
    stored_table = json.loads(file.read_text())
    rows = [dict(zip(stored_table["columns"], row, strict=True)) for row in stored_table["data"]]
    metrics = json.loads(folder.metrics.read_text())
    assert {(row["split"], row["phase"], row["dimension"]) for row in rows} == {
        ("val", "final", "pitch_dynamics"), ("val", "final", "trait_embodiment"),
    }  # fmt: skip
    for row in rows:
        expected = metrics["val"]["final"]["dimensions"][row["dimension"]]
        assert (row["pearson"], row["n"]) == (expected["pearson"], expected["n"])

    holding = [f for f in folder.path.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]
    assert not holding


def test_a_key_is_known_from_netrc_or_from_the_environment(no_key, monkeypatch, tmp_path):
    assert not key_is_known()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert key_is_known()
    monkeypatch.setenv("NETRC", "")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert key_is_known()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["logger=wandb", "logger.wandb.mode=of"], "logger.wandb.mode=of is not known; choose one of auto"),
        (["logger=wandb", "+logger.wandb.projct=x"], "Did you mean project"),
        (["+logger.tensorbord=true"], "Did you mean tensorboard"),
        (["trainer.args.hub_token=x"], "use HF_TOKEN in the environment"),
    ],
)  # fmt: skip
def test_invalid_settings_of_loggers_are_refused(composed, overrides, message):
    with pytest.raises(ConfigError) as raised:
        check(composed(*overrides))
    assert message in str(raised.value)
