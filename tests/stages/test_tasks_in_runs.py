"""Small runs of several tasks and heads: the values in metrics.json, the predictions and the reports."""

import json

import numpy as np
import pytest
import torch

from dramaeval import Judge
from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.models.adapters import load_adapter
from dramaeval.models.errors import ModelError
from dramaeval.models.forward.answer_distributions import expected_scores
from dramaeval.models.inputs.collation import collate
from dramaeval.stages.builders import build_family
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

SAMPLE = PACKAGE / "data" / "sample"
QUICK = (
    "device=cpu", "trainer.args.max_steps=2", "trainer.args.per_device_train_batch_size=2",
    "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false", "evaluation.draws=20", "evaluation.zero_shot=false",
    "evaluation.html=false", "logger=none",
)  # fmt: skip


@pytest.fixture
def run_stages_of(composed, tmp_path, small_judge):
    def build(*overrides, name="run"):
        config = composed(*QUICK, small_judge, *overrides)
        check(config)
        (tmp_path / name).mkdir(exist_ok=True)
        folder = RunFolder(tmp_path / name)
        folder.open(config)
        run = RunContext(config, folder)
        objective = run_stages(run)
        metrics = json.loads(folder.metrics.read_text()) if folder.metrics.is_file() else {}
        return run, objective, metrics

    return build


def write_few(tmp_path, task, split, count, step=1):
    """Write a few of the sample's records, with absolute paths of clips."""
    lines = (SAMPLE / task / f"{split}.jsonl").read_text("utf-8").splitlines()[::step][:count]
    file = tmp_path / f"{task}_{split}.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for line in lines:
            fields = json.loads(line)
            for key in ("wav_path", "audio_path"):
                if key in fields:
                    fields[key] = str((SAMPLE / task / fields[key]).resolve())
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")
    return file


@pytest.mark.slow
def test_a_mixture_has_figures_and_a_report_for_each_task(run_stages_of, tmp_path):
    data = [
        f"task.tasks.{name}.data.{split}={write_few(tmp_path, folder, split, 6)}"
        for name, folder in (("role", "realism"), ("archetype", "archetype"), ("avqa", "avqa"))
        for split in ("train", "test")
    ]
    run, objective, metrics = run_stages_of(
        "evaluation.html=true",
        "task=mixed", "task.tasks.role.dimensions=[pitch_dynamics]", "task.tasks.avqa.answer_tokens=3",
        "trainer.objective=soft_ce+choice_ce", "evaluation.convention=published", *data,
    )  # fmt: skip
    assert set(metrics["tasks"]) == {"role", "archetype", "avqa"}
    role = metrics["tasks"]["role"]["test"]["final"]
    assert list(role["dimensions"]) == ["role/pitch_dynamics"]
    assert role["macro"]["n"] == 6
    archetype = metrics["tasks"]["archetype"]["test"]["final"]["dimensions"]
    assert next(iter(archetype)) == "archetype/content_pass"
    choices = metrics["tasks"]["avqa"]["test"]["final"]["choices"]
    assert choices == metrics["choices"]["test"]["final"]
    assert choices["overall"]["likelihood"]["n"] == 6
    assert choices["overall"]["written"]["n"] == 6
    whole = metrics["test"]["final"]["dimensions"]
    assert list(whole) == ["role/pitch_dynamics", *archetype]
    assert objective == metrics["test"]["final"]["macro"]["pearson"]
    lines = [
        json.loads(x) for x in (run.folder.path / "predictions.jsonl").read_text().splitlines()
    ]
    options = [one for one in lines if "options" in one]
    assert len(options) == 6
    assert all(abs(sum(one["distribution"]) - 1) < 1e-4 for one in options)
    assert all(one["written"] is not None for one in options)
    # The figures by the published convention, computed here from the predictions and the ratings in the file.
    ratings_in_file = {
        line["id"]: line["annotations"]["pitch_variation"]
        for line in map(
            json.loads, (tmp_path / "realism_test.jsonl").read_text("utf-8").splitlines()
        )
    }
    pairs = [
        (
            one["expected"],
            np.mean([1 if v == "N/A" else v for v in ratings_in_file[one["id"]] if v is not None]),
        )
        for one in lines
        if one["dimension"] == "role/pitch_dynamics"
    ]
    published = role["published"]["fine_tuning"]
    assert published["n"] == len(pairs) == 6
    assert published["pearson"] == pytest.approx(np.corrcoef(*zip(*pairs, strict=True))[0, 1])
    assert "published" not in metrics["test"]["final"]
    # Each task has its own page.
    pages = {file.name: file.read_text("utf-8") for file in run.folder.path.glob("report*.html")}
    assert set(pages) == {"report.role.html", "report.archetype.html", "report.avqa.html"}
    assert '<th scope="row">Human likeness' in pages["report.archetype.html"]
    assert '<th scope="row">Human likeness' not in pages["report.role.html"]
    assert '<th scope="row">Pitch dynamics' in pages["report.role.html"]
    assert "Surest mistakes" in pages["report.avqa.html"]
    assert "Counted as published" in pages["report.role.html"]


@pytest.mark.slow
def test_the_effect_of_wordings_is_in_the_results(run_stages_of, tmp_path):
    data = [f"task.data.test={write_few(tmp_path, 'realism', 'test', 6)}"]
    _, _, metrics = run_stages_of(
        "task=role_variation", "task.dimensions=[pitch_dynamics,trait_embodiment]",
        "task.wordings_in_scoring=2", "stages=[evaluate]", "evaluation.zero_shot=true", *data,
    )  # fmt: skip
    found = metrics["test"]["zero_shot"]
    assert found["dimensions"]["pitch_dynamics"]["wording"]["wordings"] == 2
    assert found["macro"]["wording"]["spread"] > 0
    assert metrics["about"]["scoring"] == {"wordings_in_scoring": 2}


@pytest.mark.slow
def test_a_thought_that_does_not_end_is_counted_as_unscored(run_stages_of, tmp_path):
    data = [
        f"task.data.{split}={write_few(tmp_path, 'realism', split, 4)}"
        for split in ("train", "test")
    ]
    _, _, metrics = run_stages_of(
        "task=role_caption", "task.dimensions=[pitch_dynamics]", "task.thought_tokens=1", *data
    )
    dimension = metrics["test"]["final"]["dimensions"]["pitch_dynamics"]
    assert dimension["unscored_reasons"] == {"the thought did not end within 1 tokens": 4}
    assert metrics["about"]["scoring"]["thought_in_scoring"] == "generate"


@pytest.mark.slow
def test_prepared_records_train_the_same_judge_as_the_original_records(run_stages_of, tmp_path):
    data = [
        f"task.data.{split}={write_few(tmp_path, 'realism', split, 5)}"
        for split in ("train", "test")
    ]
    only = "task.dimensions=[pitch_dynamics]"
    run, _, _ = run_stages_of("stages=[prepare]", only, *data, name="made")
    prepared = run.folder.prepared
    assert sorted(file.name for file in prepared.iterdir()) == ["test.jsonl", "train.jsonl"]
    assert not run.folder.model.exists()
    _, _, found = run_stages_of(
        "task=processed", f"task.data.train={prepared}/train.jsonl", f"task.data.test={prepared}/test.jsonl",
        "trainer.objective=answer_ce", name="taken",
    )  # fmt: skip
    _, _, direct = run_stages_of(only, *data, "trainer.objective=answer_ce", name="direct")
    # Both runs have the same questions and the same target answers, so they train the same judge.
    one = found["test"]["final"]["dimensions"]["pitch_dynamics"]
    other = direct["test"]["final"]["dimensions"]["pitch_dynamics"]
    assert one["n"] == other["n"] == 5
    assert one["mse"] == pytest.approx(other["mse"], abs=1e-4)


@pytest.mark.slow
def test_a_regression_head_is_trained_saved_and_loaded(run_stages_of, tmp_path):
    data = [
        f"task.data.{split}={write_few(tmp_path, 'realism', split, 6)}"
        for split in ("train", "test")
    ]
    settings = (
        "model.head=regression", "trainer.objective=expected_mse", "task.dimensions=[pitch_dynamics]",
        "trainer.args.max_steps=4", "trainer.args.learning_rate=1e-2",
    )  # fmt: skip
    for peft in ("lora", "none"):
        run, _, metrics = run_stages_of(*settings, f"peft={peft}", *data, name=peft)
        lines = [
            json.loads(x) for x in (run.folder.path / "predictions.jsonl").read_text().splitlines()
        ]
        assert all(one["distribution"] is None and 1 < one["expected"] < 5 for one in lines)
        assert metrics["test"]["final"]["dimensions"]["pitch_dynamics"]["mse"] > 0
        again = Judge.load(run.folder.path, device="cpu")
        record = run.splits["test"][0]
        (encoded_record,) = [run.record_encoder.encode(record, run.task.dimensions)]
        batch = collate([encoded_record], pad=run.record_encoder.pad)
        with torch.no_grad():
            logits = again.model(**batch.inputs).logits
        assert logits.shape == (1, 1)
        first = next(one for one in lines if one["id"] == record.id)
        assert float(expected_scores(logits, batch)[0]) == pytest.approx(
            first["expected"], abs=1e-4
        )
        texts = {name: record.fields[name] for name in run.task.text_fields}
        (score,) = again.score(str(record.clip), dimensions=["pitch_dynamics"], **texts).values()
        assert (score.distribution, score.spread) == (None, None)
        assert score.expected == pytest.approx(first["expected"], abs=1e-4)
        assert "regression head" in (run.folder.model / "README.md").read_text(encoding="utf-8")
        check_that_loading_without_the_head_is_refused(run, peft)


def check_that_loading_without_the_head_is_refused(run, peft):
    """A judge trained with a regression head cannot be loaded without model.head=regression."""
    family = build_family(compose(f"model.path={run.config.model.path}"))
    device, folder = torch.device("cpu"), run.folder.model
    base = None if peft == "none" else family.load(device)
    with pytest.raises(ModelError, match=r"set model\.head=regression"):
        family.load(device, folder) if base is None else load_adapter(base, folder, trainable=False)


@pytest.mark.slow
def test_training_changes_the_regression_head_and_not_the_vocabulary_head(
    composed, tmp_path, small_judge
):
    data = f"task.data.train={write_few(tmp_path, 'realism', 'train', 4)}"
    config = composed(
        *QUICK, small_judge, "model.head=regression", "trainer.objective=expected_mse", "peft=none", data,
        "stages=[train]", "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=12",
        "trainer.args.per_device_train_batch_size=4", "trainer.args.warmup_steps=0",
        "trainer.args.logging_steps=1",
    )  # fmt: skip
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    trainer = make_trainer(run)
    before = {name: one.clone() for name, one in trainer.model.named_parameters()}
    trainer.train()
    changed = {
        name for name, one in trainer.model.named_parameters() if not torch.equal(one, before[name])
    }
    assert {"score_head.weight", "score_head.bias"} <= changed
    assert "lm_head.weight" not in changed
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.head=regression"], "soft_ce would need: set it to expected_mse or ranking"),
        (["model.head=regression", "trainer.objective=expected_mse", "task=role_caption"],
         "thought_in_scoring=given or skip"),
        (["model.head=regression", "trainer.objective=expected_mse", "task=role_all"], "left_out"),
        (["model.head=regression", "trainer.objective=expected_mse", "task=avqa"], "no options to choose"),
        (["task=avqa", "trainer.objective=soft_ce+ordinal"], "options have no order, which ordinal"),
        (["task=mixed", "trainer.objective=ranking"], "options have no order, which ranking"),
        (["trainer.objective=soft_ce+ranking", "trainer.args.per_device_train_batch_size=1"],
         "ranking orders the clips of a pass"),
    ],
)  # fmt: skip
def test_objectives_that_do_not_suit_the_head_or_the_task_are_refused(
    composed, tmp_path, overrides, message
):
    config = composed(*QUICK, *overrides)
    check(config)
    with pytest.raises(ConfigError, match=message):
        RunContext(config, RunFolder(tmp_path / "run"))


def test_an_unknown_head_and_a_regression_head_with_virtual_tokens_are_refused(composed):
    with pytest.raises(ConfigError, match="choose one of vocabulary, regression"):
        check(composed("model.head=linear"))
    with pytest.raises(ConfigError, match="which PEFT does not save"):
        check(composed("model.head=regression", "peft=prompt"))
