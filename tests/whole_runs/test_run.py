"""A complete run: its files, its adapter, and how a killed run is resumed."""

import json
import os
import random
import signal
import time

import pytest
from clips import write_clips
from repository import REAL
from safetensors.torch import load_file

from dramaeval.training.checkpoints import last_checkpoint

QUICK = (
    "trainer.args.max_steps=6",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_steps=2",
    "trainer.args.save_steps=2",
    "evaluation.draws=100",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
)
#: Without a report.
LEAN = (*QUICK, "evaluation.html=false")
#: GRPO with two passes over each generation; the reward is the length, in which the answers of any judge differ.
REWARDED = (
    "trainer=grpo",
    "trainer.args.num_generations=2",
    "trainer.args.num_iterations=2",
    "trainer.args.max_completion_length=10",
    "trainer.rewards.length.weight=1",
    "trainer.rewards.length.free=2",
)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Overrides that select small train, val and test splits."""
    folder = tmp_path_factory.mktemp("mine")
    return [
        f"task.data.{split}={write_clips(folder, split, count, seed=seed)}"
        for seed, (split, count) in enumerate({"train": 10, "val": 6, "test": 5}.items())
    ]


def quoted(folder):
    """A path as a value for Hydra."""
    return "'{}'".format(str(folder).replace("'", "\\'"))


@pytest.fixture(scope="module")
def finished(launch, splits, tmp_path_factory):
    """The folder of a finished run, which tests must not change, and its output."""
    folder = tmp_path_factory.mktemp("finished") / "a run, with 'quotes'"
    done = launch(*QUICK, *splits, f"hydra.run.dir={quoted(folder)}")
    assert done.returncode == 0, done.stderr + done.stdout
    return folder, done


def test_a_run_writes_all_its_files(launch, splits, finished, read_metrics):
    folder, done = finished
    for name in (
        "config.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml", "environment.json", "train.log",
        "tensorboard", "checkpoints", "model/adapter_model.safetensors", "model/adapter_config.json",
        "model/tokenizer.json", "predictions.jsonl", "predictions.zero_shot.jsonl", "metrics.json",
        "report.html",
    ):  # fmt: skip
        assert (folder / name).exists(), name
    assert not list(folder.rglob("*.unfinished"))
    assert "left" in done.stdout
    assert "ceiling" in done.stdout
    assert str(folder) in done.stdout.splitlines()[-1]

    lines = [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
    assert len(lines) == (6 + 5) * 2
    for line in lines:
        assert line["state"] == "scored"
        assert sum(line["distribution"]) == pytest.approx(1, abs=1e-5)
        mean = sum(k * p for k, p in zip(line["scale"], line["distribution"], strict=True))
        assert line["expected"] == pytest.approx(mean, abs=1e-5)
        assert len(line["ratings"]) == 6

    metrics = read_metrics(folder)
    for split, count in (("val", 6), ("test", 5)):
        for phase in ("zero_shot", "final"):
            found = metrics[split][phase]
            assert -1 <= found["macro"]["pearson"] <= 1
            for key in ("pitch_dynamics", "trait_embodiment"):
                one = found["dimensions"][key]
                assert (one["n"], one["unscored"]) == (count, 0)
                assert {"pearson", "spearman", "kendall", "mse"} <= set(one)
    assert metrics["about"]["rubric"] == {"name": "realism", "version": "1.0"}

    environment = json.loads((folder / "environment.json").read_text())
    assert environment["seed"] == 0
    assert environment["versions"]["torch"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(folder / "tensorboard"))
    curves.Reload()
    wanted = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "clips_per_second"}
    assert {f"train/{name}" for name in wanted} <= set(curves.Tags()["scalars"])
    assert {"eval/cross_entropy", "eval/pearson", "eval/accuracy"} <= set(curves.Tags()["scalars"])
    assert [event.step for event in curves.Scalars("eval/pearson")] == [2, 4, 6]
    counts = [tag for tag in curves.Tags()["scalars"] if tag.endswith("/count")]
    assert any(tag.startswith("train/score_") for tag in counts)

    # The same command again trains and scores nothing.
    before = (folder / "predictions.jsonl").stat().st_mtime_ns
    again = launch(*QUICK, *splits, f"hydra.run.dir={quoted(folder)}")
    assert again.returncode == 0, again.stderr
    assert "The training is finished" in again.stdout
    assert (folder / "predictions.jsonl").stat().st_mtime_ns == before

    # Other settings in the same folder are refused.
    other = launch(*QUICK, *splits, f"hydra.run.dir={quoted(folder)}", "seed=1")
    assert other.returncode == 1
    assert "holds a run of another configuration (seed: 0 → 1)" in other.stderr


@pytest.mark.slow
def test_the_adapter_loads_with_plain_peft_and_predicts_the_same(
    launch, splits, finished, tmp_path
):
    folder, _ = finished
    again = tmp_path / "again"
    evaluated = launch(
        *LEAN,
        *splits,
        "stages=[evaluate]",
        f"checkpoint={quoted(folder)}",
        f"hydra.run.dir={again}",
    )
    assert evaluated.returncode == 0, evaluated.stderr
    for one, other in zip(
        (folder / "predictions.jsonl").open(), (again / "predictions.jsonl").open(), strict=True
    ):
        assert json.loads(one)["expected"] == pytest.approx(json.loads(other)["expected"], abs=1e-5)

    from peft import PeftModel
    from transformers import Qwen2AudioForConditionalGeneration

    from dramaeval.config.schema import PACKAGE

    base = Qwen2AudioForConditionalGeneration.from_pretrained(PACKAGE / "models" / "tiny")
    adapted = PeftModel.from_pretrained(base, folder / "model")
    saved = load_file(folder / "model" / "adapter_model.safetensors")
    loaded = {
        name.replace(".default", ""): weight
        for name, weight in adapted.named_parameters()
        if "lora_" in name
    }
    assert saved.keys() == loaded.keys()
    assert all((saved[name] == loaded[name]).all() for name in saved)
    assert any(float(weight.abs().max()) > 0 for name, weight in saved.items() if "lora_B" in name)

    # A new training starts from the adapter.
    further = launch(
        *LEAN, *splits, f"checkpoint={quoted(folder)}", f"hydra.run.dir={tmp_path / 'further'}",
        "trainer.args.max_steps=2", "stages=[train]",
    )  # fmt: skip
    assert further.returncode == 0, further.stderr
    after = load_file(tmp_path / "further" / "model" / "adapter_model.safetensors")
    assert after.keys() == saved.keys()
    assert any((after[name] != saved[name]).any() for name in saved)


@pytest.mark.slow
def test_full_fine_tuning_saves_a_model_that_plain_transformers_loads(
    launch, splits, tmp_path, small_judge
):
    folder = tmp_path / "run"
    words = [
        *LEAN, *splits, small_judge, "peft=none", "evaluation.zero_shot=false", "trainer.args.max_steps=2"
    ]  # fmt: skip
    done = launch(*words, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    from transformers import Qwen2AudioForConditionalGeneration

    _, report = Qwen2AudioForConditionalGeneration.from_pretrained(
        folder / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    again = tmp_path / "again"
    evaluated = launch(
        *LEAN,
        *splits,
        "stages=[evaluate]",
        f"checkpoint={folder / 'model'}",
        f"hydra.run.dir={again}",
    )
    assert evaluated.returncode == 0, evaluated.stderr
    for one, other in zip(
        (folder / "predictions.jsonl").open(), (again / "predictions.jsonl").open(), strict=True
    ):
        assert json.loads(one)["expected"] == pytest.approx(json.loads(other)["expected"], abs=1e-5)


def killed_at_step(start_launch, settings, folder, step):
    """Kill a run a moment after a step of its training."""
    running = start_launch(*settings, f"hydra.run.dir={folder}")
    deadline = time.monotonic() + 200
    while (
        f"step {step} of" not in running.stdout
        and not running.has_ended
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.3))
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait().returncode == -signal.SIGKILL


def assert_same_judge(whole, other, step):
    """The same adapter, bit for bit, and the same predictions."""
    expected = load_file(whole / "model" / "adapter_model.safetensors")
    weights = load_file(other / "model" / "adapter_model.safetensors")
    for name, weight in expected.items():
        assert (weight == weights[name]).all(), (step, name)
    assert (whole / "predictions.jsonl").read_text() == (other / "predictions.jsonl").read_text()


@pytest.mark.slow
def test_a_killed_run_has_the_result_of_an_uninterrupted_one(
    launch, start_launch, splits, tmp_path
):
    """SIGKILL at a random moment of GRPO."""
    settings = [*LEAN, *splits[:2], *REWARDED, "evaluation.zero_shot=false"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert launch(*settings, f"hydra.run.dir={whole}").returncode == 0
    step = random.randint(1, 5)
    killed_at_step(start_launch, settings, killed, step)
    done = launch(*settings, f"hydra.run.dir={killed}")
    assert done.returncode == 0, (step, done.stderr)
    assert_same_judge(whole, killed, step)


@pytest.mark.slow
def test_a_checkpoint_cut_off_by_a_kill_is_skipped(
    launch, start_launch, splits, finished, tmp_path
):
    """SIGKILL at a random moment after the first checkpoint of SFT; the newest checkpoint is then incomplete."""
    settings = [*LEAN, *splits]
    killed = tmp_path / "killed"
    step = random.randint(3, 5)
    killed_at_step(start_launch, settings, killed, step)
    checkpoints = killed / "checkpoints"
    newest = last_checkpoint(checkpoints)
    state = newest / "trainer_state.json"
    state.write_text(state.read_text()[: state.stat().st_size // 2])
    previous = last_checkpoint(checkpoints)
    assert previous != newest
    done = launch(*settings, f"hydra.run.dir={killed}")
    assert done.returncode == 0, (step, done.stderr)
    if previous:
        assert f"Resuming from {previous.name}" in done.stdout
    assert_same_judge(finished[0], killed, step)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real clips are not at {REAL}")
def test_a_real_record_is_learnt(launch, tmp_path):
    file = REAL / "realism" / "test.jsonl"
    done = launch(
        f"task.data.train={file}",
        f"task.data.test={file}",
        "task.data.on_bad=skip",
        "trainer.objective=soft_ce+expected_mse",
        "task.dimensions=[pitch_dynamics,trait_embodiment]",
        "trainer.args.max_steps=20",
        "trainer.args.eval_strategy=no",
        "trainer.args.save_strategy=no",
        "trainer.args.load_best_model_at_end=false",
        "evaluation.draws=20",
        "evaluation.html=false",
        "evaluation.zero_shot=false",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = [json.loads(line) for line in lines]
    assert len(predictions) == 2
    for one in predictions:
        given = [rating for rating in one["ratings"] if rating is not None]
        assert abs(one["expected"] - sum(given) / len(given)) < 0.3, one["dimension"]


@pytest.mark.slow
def test_without_val_the_last_step_is_kept_and_test_is_the_objective(
    launch, splits, tmp_path, small_judge
):
    words = [
        *LEAN, small_judge, splits[0], splits[2], "trainer.args.max_steps=2", "evaluation.zero_shot=false"
    ]  # fmt: skip
    done = launch(*words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "There is no val split" in done.stdout
