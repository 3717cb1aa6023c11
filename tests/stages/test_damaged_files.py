"""A run with damaged files names each of them and ends with the same results as an undamaged run."""

import json
import logging
import shutil

import pytest
from clips import write_clips
from damage import WAYS, damage
from safetensors.torch import load_file

from dramaeval.api.judge import Judge
from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import NAME, DamagedFileError
from dramaeval.evaluation.report.read_results import ResultsError, read_run, splits_in
from dramaeval.models.errors import ModelError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.model_card import write_card
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.training.checkpoints import last_checkpoint

SETTINGS = (
    "stages=[train,evaluate,controls,export]", "device=cpu", "logger=none", "peft.r=2",
    "task.dimensions=[pitch_dynamics,trait_embodiment]", "evaluation.controls=[training_mean,silence]",
    "evaluation.draws=20", "evaluation.html=false", "trainer.args.max_steps=4", "trainer.args.eval_steps=2",
    "trainer.args.save_steps=1", "trainer.args.save_total_limit=null", "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false", "trainer.args.per_device_train_batch_size=2",
    "trainer.args.lr_scheduler_type=constant", "trainer.args.learning_rate=0.01",
)  # fmt: skip
#: The files that a second start of a finished run reads, relative to the run folder.
FILES_READ = (
    "checkpoints/checkpoint-4/optimizer.pt",
    "model/adapter_model.safetensors",
    "export/adapter_model.safetensors",
    "predictions.jsonl",
    "predictions.zero_shot.jsonl",
    "controls/test.silence.jsonl",
    "controls/test.training_mean.settings.json",
    "metrics.json",
    "environment.json",
    "config.yaml",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return [
        f"task.data.{split}={write_clips(folder, split, 4, seed=seed)}"
        for seed, split in enumerate(("train", "test"))
    ]


@pytest.fixture
def start(composed, data, small_judge):
    """A function that runs all stages in a folder, as `dramaeval.stages.pipeline` does."""

    def begin(path, *words):
        config = composed(*SETTINGS, small_judge, *data, *words)
        check(config)
        folder = RunFolder(path)
        run = RunContext(config, folder)
        make_plan(run)
        folder.open(config)
        run_stages(run)

    return begin


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def finished(whole, start, tmp_path):
    """A copy of the finished run ``whole``."""
    if not whole.exists():
        start(whole)
    return shutil.copytree(whole, tmp_path / "run")


def results(path):
    """The texts of a run's results, by file, and its weights, by folder."""
    files = [*path.glob("*.jsonl"), *path.glob("controls/*.jsonl"), path / "metrics.json"]
    texts = {file.relative_to(path): file.read_text(encoding="utf-8") for file in files}
    weights = {
        name: load_file(path / name / "adapter_model.safetensors") for name in ("model", "export")
    }
    return texts, weights


@pytest.mark.slow
def test_damaged_files_are_written_again_with_the_same_content(whole, finished, start, caplog):
    """Training resumes from the newest undamaged checkpoint, one step before the end.

    Each file is damaged in one of two ways; tests/data/test_manifest.py tests both ways on one file.
    """
    for number, name in enumerate(FILES_READ):
        damage(finished / name, WAYS[number % len(WAYS)])
    caplog.set_level(logging.INFO)
    start(finished)
    for name in FILES_READ[:-3]:  # the last three are written at every start
        message = name.rpartition("/")[2] + " has "
        assert any(message in line for line in caplog.messages), name
    for name in ("model", "export"):
        assert f"{finished / name} is damaged: adapter_model.safetensors has" in caplog.text
    assert "checkpoint-4 is skipped: optimizer.pt has" in caplog.text
    assert "Resuming from checkpoint-3." in caplog.text
    texts, weights = results(finished)
    texts_before, weights_before = results(whole)
    assert texts == texts_before
    for name, before in weights_before.items():
        assert all((weight == weights[name][key]).all() for key, weight in before.items())
    # The damaged files are kept under other names, and the next start finds no damaged file.
    assert len(list(finished.rglob("*.damaged"))) == len(FILES_READ) - 4
    caplog.clear()
    start(finished)
    assert "has other bytes" not in caplog.text
    assert "The training is finished" in caplog.text


@pytest.mark.slow
def test_a_damaged_file_of_an_earlier_version_is_written_again(whole, finished, start, caplog):
    """Without a manifest, damage can be seen only if a line is incomplete or a file is empty."""
    for folder in (finished, finished / "controls"):
        (folder / NAME).unlink()
    # The cut has to be within a line: without a manifest, a file cut off between two lines looks complete.
    damage(finished / "predictions.jsonl", "cut off", at=0.4)
    damage(finished / "controls" / "test.silence.jsonl", "cut off", at=0.4)
    (finished / "predictions.zero_shot.jsonl").write_bytes(b"")
    start(finished)
    assert "predictions.zero_shot.jsonl is damaged: it is empty" in caplog.text
    assert "predictions.jsonl is damaged: " in caplog.text
    assert results(finished)[0] == results(whole)[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_with_a_damaged_file_of_any_kind_is_skipped(finished, caplog, way):
    checkpoints = finished / "checkpoints"
    newest = checkpoints / "checkpoint-4"
    kinds = {file.name for file in newest.iterdir()}
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", NAME,
            "adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= kinds  # fmt: skip
    for file in sorted(newest.iterdir()):
        if file.name == "README.md":
            continue
        before = file.read_bytes()
        damage(file, way)
        caplog.clear()
        assert last_checkpoint(checkpoints).name == "checkpoint-3", file.name
        assert f"checkpoint-4 is skipped: {file.name}" in caplog.text
        file.write_bytes(before)
        assert last_checkpoint(checkpoints) == newest


def test_without_an_undamaged_checkpoint_training_starts_anew(finished, caplog):
    for file in finished.glob("checkpoints/*/optimizer.pt"):
        damage(file, "changed")
    assert last_checkpoint(finished / "checkpoints") is None
    assert "holds no undamaged checkpoint: training starts anew" in caplog.text


def test_a_checkpoint_whose_best_checkpoint_is_damaged_is_skipped(finished, caplog):
    checkpoints = finished / "checkpoints"
    for step in (3, 4):
        file = checkpoints / f"checkpoint-{step}" / "trainer_state.json"
        state = {**json.loads(file.read_text()), "best_model_checkpoint": "/moved/checkpoint-2"}
        file.write_text(json.dumps(state))
        (file.parent / NAME).unlink()
    assert last_checkpoint(checkpoints, with_best=True).name == "checkpoint-4"
    damage(checkpoints / "checkpoint-2" / "adapter_model.safetensors", "changed")
    assert last_checkpoint(checkpoints).name == "checkpoint-4"
    assert last_checkpoint(checkpoints, with_best=True).name == "checkpoint-1"
    assert "would return to checkpoint-2, the best on val, which is damaged" in (caplog.text)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_run_with_a_damaged_config_is_not_continued_with_other_settings(finished, start, way):
    damage(finished / "config.yaml", way)
    with pytest.raises(ConfigError, match=r"config\.yaml has .*the new settings differ"):
        start(finished, "seed=1")
    (
        finished / NAME
    ).unlink()  # as in a run of an earlier version, which has no hash to compare with
    (finished / "config.yaml").write_text("task: {a: [")
    with pytest.raises(ConfigError, match=r"config\.yaml is damaged"):
        start(finished)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("listed", [True, False], ids=["", "of an earlier version"])
def test_a_damaged_judge_is_refused_with_a_message(finished, composed, way, listed):
    model = finished / "model"
    if not listed:
        (model / NAME).unlink()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        file = model / name
        before = file.read_bytes()
        # Without a hash, a changed weight cannot be detected, but a changed header of the file can.
        damage(file, way, 0.5 if listed or way == "cut off" else 0)
        with pytest.raises(ModelError, match=name if listed or "json" in name else "damaged"):
            Judge.load(finished, device="cpu")
        file.write_bytes(before)
    assert Judge.load(finished, device="cpu")


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_run_is_not_compared(finished, way):
    assert splits_in(finished, "final") == ["test"]
    for name in ("predictions.jsonl", "config.yaml"):
        before = (finished / name).read_bytes()
        damage(finished / name, way)
        with pytest.raises(ResultsError, match=name):
            read_run(finished, "a", "test", None)
        (finished / name).write_bytes(before)


@pytest.mark.parametrize("way", WAYS)
def test_a_card_says_not_known_for_values_of_damaged_files(finished, caplog, way):
    for name in ("metrics.json", "environment.json", "config.yaml"):
        damage(finished / name, way)
    write_card(finished / "model", finished)
    assert caplog.text.count("Its content is not known on the card") == 3
    assert "not known" in (finished / "model" / "README.md").read_text()


@pytest.mark.slow
def test_a_best_checkpoint_that_is_damaged_during_training_is_not_loaded(
    composed, data, tmp_path, small_judge
):
    from transformers import TrainerCallback

    from dramaeval.stages.train import make_trainer

    class DamageFirstCheckpoint(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                damage(tmp_path / "checkpoints/checkpoint-1/adapter_model.safetensors", "changed")

    config = composed(
        *SETTINGS, small_judge, *data, data[1].replace(".test", ".val"), "trainer.args.max_steps=2",
        "trainer.args.eval_strategy=steps", "trainer.args.eval_steps=1", "trainer.args.save_total_limit=2",
        "trainer.args.load_best_model_at_end=true", "trainer.args.metric_for_best_model=cross_entropy",
        "trainer.args.greater_is_better=false",
    )  # fmt: skip
    check(config)
    run = RunContext(config, RunFolder(tmp_path))
    make_plan(run)
    trainer = make_trainer(run)
    trainer.add_callback(DamageFirstCheckpoint())
    # The first checkpoint counts as the best, whatever the metric is.
    trainer._determine_best_metric = lambda metrics, trial: first_is_best(trainer)
    with pytest.raises(
        DamagedFileError, match=r"checkpoint-1 is damaged: .*It was the best on val"
    ):
        trainer.train()


def first_is_best(trainer):
    if trainer.state.best_global_step is None:
        trainer.state.best_global_step = trainer.state.global_step
        trainer.state.best_metric = 0.0
    return False
