"""Training of composed judges: the new projector is trained beside an adapter, saved and loaded again."""

import json
import shutil

import numpy as np
import pytest
import torch
from grpo_trainers import generate, log_p_of
from judge_parts import write_encoder, write_text
from peft import PeftModel
from transformers import Qwen2AudioForConditionalGeneration

from dramaeval import Judge
from dramaeval.config.inheritance import inherit
from dramaeval.config.problems import ConfigError
from dramaeval.data.records import read_records
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.planner import make_plan, missing_files
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.tasks.task import Task

TWO_STEPS = (
    "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics,trait_embodiment]", "trainer.args.max_steps=2",
    "trainer.args.logging_steps=1", "trainer.args.warmup_steps=0", "evaluation.zero_shot=false",
    "trainer.args.per_device_train_batch_size=2", "evaluation.draws=20", "evaluation.html=false",
    "trainer.args.save_strategy=no", "trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    encoder = write_encoder(tmp_path_factory.mktemp("whisper"))
    text = write_text(tmp_path_factory.mktemp("llama"), "llama")
    return ("model=composed", f"model.audio={encoder}", f"model.text={text}")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DRAMAEVAL_COMPOSED", str(tmp_path / "composed"))


@pytest.fixture
def context(composed, tmp_path, make_clips):
    """The context of a run with these settings."""

    def build(*overrides, name="run"):
        config = composed(
            *TWO_STEPS,
            f"task.data.train={make_clips('train', 4)}",
            f"task.data.val={make_clips('val', 3, seed=1)}",
            *overrides,
        )
        config = inherit(config)
        check(config)
        run = RunContext(config, RunFolder(tmp_path / name))
        run.folder.path.mkdir()
        run.folder.open(config)
        return run

    return build


def predictions(run):
    lines = run.folder.predictions("final").read_text().splitlines()
    return [json.loads(line) for line in lines]


def judge_scores(judge, run):
    """The distributions of `Judge.score` for the records of val."""
    task: Task = run.task
    records = read_records(run.config.task.data.val, task.record_format()).records
    keys = [dimension.key for dimension in task.dimensions]
    for record in records:
        texts = {field: record.fields[field] for field in task.text_fields}
        scores = judge.score(str(record.clip), dimensions=keys, **texts)
        yield from (scores[key].distribution for key in keys)


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_a_run_trains_saves_and_reloads_the_judge(context, parts, peft, tmp_path):
    run = context(*parts, f"peft={peft}")
    base = run.family.load(torch.device("cpu")).state_dict()
    run_stages(run)
    lines = predictions(run)
    assert [line["state"] for line in lines] == ["scored"] * 6
    projector = "model.multi_modal_projector.linear.weight"
    if peft == "lora":
        plain = Qwen2AudioForConditionalGeneration.from_pretrained(run.family.path)
        assert torch.equal(plain.state_dict()[projector], base[projector])
        plain = PeftModel.from_pretrained(plain, run.folder.model).merge_and_unload()
        trained = run.model.get_base_model().model.multi_modal_projector.modules_to_save["default"]
    else:
        plain = Qwen2AudioForConditionalGeneration.from_pretrained(run.folder.model)
        trained = run.model.model.multi_modal_projector
    names = [run.config.model[key].rpartition("/")[2] for key in ("audio", "text")]
    assert f"base_model: {' + '.join(names)}\n" in (run.folder.model / "README.md").read_text()
    # All weights of the projector are trained, and PEFT and transformers load them without this package.
    assert torch.equal(plain.state_dict()[projector], trained.linear.weight)
    change = (trained.linear.weight - base[projector]).abs()
    assert (change > 0).float().mean() > 0.99
    for path in (run.folder.path, run.folder.model):
        judge = Judge.load(path, device="cpu")
        # Without the cached judge, as on another machine, the parts are joined again.
        shutil.rmtree(tmp_path / "composed", ignore_errors=True)
        for line, scores in zip(lines, judge_scores(judge, run), strict=True):
            np.testing.assert_allclose(scores, line["distribution"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_the_judge_and_a_checkpoint_of_a_run_are_evaluated_by_their_folder_alone(
    context, parts, peft
):
    """The settings of the model come from the folder, which holds weights that are no longer those of the parts."""
    saving = ("trainer.args.save_strategy=steps", "trainer.args.save_steps=2")
    run = context(*parts, f"peft={peft}", *saving)
    run_stages(run)
    expected = [line["distribution"] for line in predictions(run)]
    for name, folder in (
        ("of_run", run.folder.path), ("of_judge", run.folder.model),
        ("of_checkpoint", run.folder.checkpoints / "checkpoint-2"),
    ):  # fmt: skip
        again = context("stages=[evaluate]", f"checkpoint={folder}", name=name)
        run_stages(again)
        found = [line["distribution"] for line in predictions(again)]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_plan_says_that_the_new_projector_is_trained_in_full(context, parts):
    run = context(*parts, "peft=lora")
    plan = make_plan(run)
    weights = 32 * 48 + 48
    assert plan.by_part["projector"] == (weights, weights)
    (line,) = [line for line in plan.lines() if line.startswith("    projector")]
    assert "trained in full and saved with the adapter" in line
    assert not (run.folder.path.parent / "composed").exists()


def test_missing_files_of_the_parts_are_found_before_they_are_joined(context, parts, tmp_path):
    run = context(*parts, "peft=lora")
    assert missing_files(run, starts=True) == []
    folder = tmp_path / "no_weights"
    shutil.copytree(parts[2].removeprefix("model.text="), folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    run = context(*parts[:2], f"model.text={folder}", "peft=lora", name="second")
    (problem,) = missing_files(run, starts=True)
    assert str(folder) in problem
    assert "safetensors" in problem


@pytest.mark.parametrize(
    ("overrides", "trained", "text"),
    [
        (["peft=none"], 32 * 48 + 48, "trainable"),
        (["peft=lora", "adapt=[llm,projector]", "peft.r=2"], 2 * (32 + 48), "trainable"),
        (["peft=lora", "model.train_projector=false"], 0, "are new and are not trained"),
    ],
)
def test_the_plan_of_a_projector_that_is_not_trained_in_full(
    context, parts, overrides, trained, text
):
    plan = make_plan(context(*parts, *overrides))
    assert plan.by_part["projector"][0] == trained
    (line,) = [line for line in plan.lines() if line.startswith("    projector")]
    assert text in line
    assert "in full" not in line


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dora", "rslora", "adalora", "ia3", "qlora"])
def test_every_adapter_trains_the_projector(context, parts, method):
    plan = make_plan(context(*parts, f"peft={method}", "trainer.args.max_steps=20"))
    assert plan.by_part["projector"][0] == 32 * 48 + 48


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_virtual_tokens_are_refused(context, parts, method):
    with pytest.raises(ConfigError, match=r"has new weights.*experiment=align"):
        context(*parts, f"peft={method}")


@pytest.mark.slow
def test_a_continued_training_loads_the_trained_projector(context, parts, tmp_path):
    first = context(*parts, "stages=[train]", "peft.r=2")
    run_stages(first)
    saved = first.model.get_base_model().model.multi_modal_projector.modules_to_save["default"]
    again = context(*parts, "peft.r=2", f"checkpoint={first.folder.path}", name="again")
    loaded = again.model.get_base_model().model.multi_modal_projector.modules_to_save["default"]
    assert torch.equal(loaded.linear.weight, saved.linear.weight)
    assert loaded.linear.weight.requires_grad
    with pytest.raises(ConfigError, match=r"multi_modal_projector in full.*train_projector"):
        context(
            *parts, "peft.r=2", f"checkpoint={first.folder.path}", "model.train_projector=false",
            name="other",
        )  # fmt: skip


@pytest.mark.slow
def test_grpo_with_a_new_projector_starts_at_a_kl_of_zero(context, parts):
    run = context(
        *parts, "trainer=grpo", "stages=[train]", "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=1",
        "trainer.args.num_generations=2", "trainer.args.max_completion_length=8",
    )  # fmt: skip
    make_plan(run)
    trainer = make_trainer(run)
    (inputs,) = generate(trainer, 0, 3)
    mask = inputs["completion_mask"].bool()
    shared = log_p_of(trainer, inputs)[mask]
    trainer.scorer.shared_prefix = trainer.scorer.audio.enabled = False
    torch.testing.assert_close(shared, log_p_of(trainer, inputs)[mask], atol=1e-4, rtol=0)
    trainer.train()
    (entry,) = [each for each in trainer.state.log_history if "kl" in each]
    assert abs(entry["kl"]) < 1e-6


@pytest.mark.slow
def test_alignment_trains_only_the_projector_to_write_transcripts(parts, context):
    run = context(
        "experiment=align", *parts[1:], "trainer.args.max_steps=12", "trainer.args.learning_rate=0.05",
        "trainer.args.lr_scheduler_type=constant",
    )  # fmt: skip
    plan = make_plan(run)
    assert {part for part, (trained, _) in plan.by_part.items() if trained} == {"projector"}
    record = run.splits["train"][0]
    question = run.task.questions(record, run.task.dimensions[:1], np.random.default_rng(0))[0]
    assert record.fields["transcript"] not in str(question.messages)
    assert f"<think>{record.fields['transcript']}</think>" in question.solution((0,))
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    trainer = make_trainer(run)
    trainer.train()
    after = run.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        "model.multi_modal_projector.linear.weight", "model.multi_modal_projector.linear.bias",
    }  # fmt: skip
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
