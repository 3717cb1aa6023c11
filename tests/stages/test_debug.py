"""debug=true writes the first batch and a profile without changing the losses; save_only_model=true."""

import gzip
import json
import re

import pytest
import torch

from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import seal
from dramaeval.stages import train
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.training.callbacks.debug import dump_first_batch

QUICK = (
    "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=2", "trainer.args.logging_steps=1",
    "trainer.args.save_strategy=no", "trainer.args.load_best_model_at_end=false",
    "trainer.args.eval_strategy=no", "trainer.args.max_steps=3",
)  # fmt: skip


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    train = make_clips("train", 6)

    def build(*overrides, name="run"):
        data = (f"task.data.train={train}", f"task.data.val={train}")
        config = composed(*QUICK, small_judge, *data, *overrides)
        check(config)
        return RunContext(config, RunFolder(tmp_path / name))

    return build


@pytest.mark.slow
def test_debug_writes_the_first_batch_and_a_profile_and_changes_no_loss(run_of, monkeypatch):
    monkeypatch.setattr("dramaeval.training.callbacks.debug.PROFILED_STEPS", 2)
    plain = run_of(name="plain")
    trainer = make_trainer(plain)
    trainer.train()
    expected = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    run = run_of("debug=true", "trainer.args.dataloader_num_workers=2", name="debugged")
    trainers = []
    assert run.args.dataloader_num_workers == 0

    def keep_trainer(run, resume):
        trainers.append(make_trainer(run, resume))
        return trainers[-1]

    monkeypatch.setattr("dramaeval.stages.train.make_trainer", keep_trainer)
    with run.loggers:
        train.run(run)
    (trainer,) = trainers
    found = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert found == expected
    assert not torch.is_anomaly_enabled()

    text = (run.folder.debug / "first_batch.txt").read_text(encoding="utf-8")
    first = trainer.record_encoder.task.dimensions[0].key
    trainer.order.set_epoch(0)  # the first batch is of epoch 0
    first_batch = list(trainer.order)[:2]
    for number, at in enumerate(first_batch):
        assert f"question {2 * number}: {run.splits['train'][at].id} × {first}" in text
    assert text.startswith("2 clips, 4 questions, ")
    assert "<|AUDIO|> × " in text
    assert text.count("target {") == 4
    assert "→ <|im_end|>" in text

    with gzip.open(run.folder.debug / "trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    steps = [e for e in events if str(e.get("name", "")).startswith("Optimizer.step#")]
    assert len(steps) == 2


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("trainer.args.per_device_train_batch_size=4",),
        ("trainer.args.per_device_train_batch_size=null", "batch.max_tokens=1500"),
    ],
)  # fmt: skip
def test_the_first_batch_is_the_first_one_of_the_loader(run_of, tmp_path, overrides):
    trainer = make_trainer(run_of("trainer.args.gradient_accumulation_steps=2", *overrides))
    dump_first_batch(trainer, tmp_path)
    text = (tmp_path / "first_batch.txt").read_text(encoding="utf-8")
    batch = next(iter(trainer.get_train_dataloader()))["batch"]
    assert text.startswith(f"{batch.clips} clip")
    shown = re.findall(r"^question \d+: (.+) × (.+)$", text, re.MULTILINE)
    assert tuple(shown) == batch.question_keys


@pytest.mark.slow
def test_save_only_model_warns_and_cannot_be_resumed_before_the_last_step(run_of, caplog):
    settings = (
        "trainer.args.save_only_model=true", "trainer.args.save_strategy=steps",
        "trainer.args.save_steps=1", "trainer.args.max_steps=2", "trainer.args.save_total_limit=1",
    )  # fmt: skip
    run = run_of(*settings)
    with caplog.at_level("WARNING"):
        train.run(run)
    assert "cannot be resumed" in caplog.text
    kept = [one.name for one in run.folder.checkpoints.iterdir()]
    assert kept == ["checkpoint-2"]
    assert not (run.folder.checkpoints / "checkpoint-2" / "optimizer.pt").exists()

    again = run_of(*settings)
    (again.folder.model / "adapter_config.json").rename(again.folder.path / "aside")
    again.folder.model.rename(again.folder.path / "model.aside")
    # Resuming in the middle of training needs the optimizer's state.
    file = again.folder.checkpoints / "checkpoint-2" / "trainer_state.json"
    whole = file.read_text()
    file.write_text(json.dumps({**json.loads(whole), "max_steps": 4, "stateful_callbacks": {}}))
    seal(file.parent)
    with pytest.raises(ConfigError) as raised:
        train.run(again)
    assert "checkpoint-2 was saved with trainer.args.save_only_model=true" in str(raised.value)
    assert "hydra.run.dir=" in str(raised.value)
    # Resuming after the last step needs only the weights.
    file.write_text(whole)
    seal(file.parent)
    train.run(again)
    before = again.folder.path / "model.aside" / "adapter_model.safetensors"
    assert before.read_bytes() == (again.folder.model / before.name).read_bytes()
