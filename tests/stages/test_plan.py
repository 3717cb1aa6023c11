"""The plan of a run, compared with counts by hand."""

import json
from dataclasses import replace

import pytest
import torch

from dramaeval.config.problems import ConfigError
from dramaeval.models.planning.generation_time import GenerationTime
from dramaeval.models.planning.memory import estimate, readable
from dramaeval.stages import planner
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import check_context, run_stages
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


@pytest.fixture
def plan_of(composed, make_clips, tmp_path):
    def build(*overrides):
        config = composed(
            f"task.data.train={make_clips('train', 10, seconds=(2.0,))}",
            f"task.data.test={make_clips('test', 3, seconds=(1.0,))}",
            *overrides,
        )
        check(config)
        return RunContext(config, RunFolder(tmp_path / "run"))

    return build


def test_the_plan_counts_records_questions_hours_and_steps(plan_of):
    run = plan_of("trainer.args.per_device_train_batch_size=2", "trainer.args.num_train_epochs=3")
    for record in run.splits["train"][:4]:
        record.ratings["pitch_variation"] = (None,) * 6
    plan = make_plan(run)
    assert plan.records == {"train": 10, "test": 3}
    # Four training records lack the ratings of one of ten dimensions; in the test all are asked.
    assert plan.questions == {"train": 96, "test": 30}
    assert plan.hours["train"] == pytest.approx(20 / 3600)
    assert (plan.steps, plan.clips.clips) == (15, 2)  # 5 batches × 3 epochs


@pytest.mark.parametrize(
    ("peft", "adapt", "trainable"),
    [
        # r × (in + out) of each projection and layer: hidden 160, intermediate 480, 4 layers, r = 16
        ("lora", "llm", 4 * 16 * (4 * (160 + 160) + 3 * (160 + 480))),
        # d_model 128, ffn 512, 4 layers
        ("lora", "audio", 4 * 16 * (4 * (128 + 128) + 2 * (128 + 512))),
        ("lora", "projector", 16 * (128 + 160)),
    ],
)
def test_trainable_parameters_by_part(plan_of, peft, adapt, trainable):
    plan = make_plan(plan_of(f"peft={peft}", f"adapt={adapt}"))
    assert plan.trainable == trainable
    assert {part for part, (trained, _) in plan.by_part.items() if trained} == {adapt}
    assert plan.by_part[adapt][0] == trainable


@pytest.mark.slow
def test_training_takes_the_planned_number_of_steps(plan_of, small_judge):
    for overrides in (["trainer.args.gradient_accumulation_steps=2"], ["trainer.args.max_steps=3"]):
        run = plan_of(
            small_judge,
            "trainer.args.per_device_train_batch_size=3",
            "trainer.args.num_train_epochs=2",
            "trainer.args.save_strategy=no",
            "task.dimensions=[pitch_dynamics]",
            *overrides,
        )
        planned = make_plan(run).steps
        trainer = make_trainer(run)
        trainer.train()
        assert trainer.state.global_step == planned


def test_the_memory_estimate_equals_a_calculation_by_hand():
    sizes = {"total": 100, "trainable": 10, "tokens": 7, "hidden": 3, "layers": 2, "inner": 5}
    second = estimate(**sizes, bytes_per_weight=4, stage=2, processes=5)
    assert (second.weights, second.gradients, second.optimizer) == (400, 10 * 4 / 5, 10 * 8 / 5)
    assert second.activations == 2 * 7 * (9 * 3 + 4 * 5) * 4
    third = estimate(**sizes, bytes_per_weight=2, stage=3, processes=4, checkpointing=True)
    assert third.weights == 50
    assert third.activations == 2 * 7 * 3 * 2 + 7 * (9 * 3 + 4 * 5) * 2
    assert readable(1536 * 2**20) == "1.5 GiB"


def test_a_skeleton_has_no_weights_in_memory(plan_of):
    skeleton = plan_of().family.skeleton()
    assert all(weight.device == torch.device("meta") for weight in skeleton.parameters())


def test_without_val_the_objective_is_the_correlation_on_test(plan_of, make_clips):
    quick = ("stages=[evaluate]", "evaluation.draws=20", "task.dimensions=[pitch_dynamics]")
    run = plan_of(*quick)
    run.folder.path.mkdir(parents=True)
    objective = run_stages(run)
    metrics = json.loads(run.folder.metrics.read_text())
    assert objective == metrics["test"]["zero_shot"]["macro"]["pearson"]


def test_overlap_with_training_is_reported(composed, make_clips, tmp_path, caplog):
    file = make_clips("same", 6)
    config = composed(f"task.data.train={file}", f"task.data.test={file}")
    run = RunContext(config, RunFolder(tmp_path / "run"))
    assert [text.partition(" (")[0] for text in run.splits.overlaps] == [
        "test and train share 3 characters",
        "test and train share 6 scenes",
        "test and train share 6 clips",
    ]
    assert "Scores on test may be too high" in caplog.text


def test_all_problems_of_the_objects_are_reported_together(composed, tmp_path):
    config = composed(
        "task.dimensions=[nonsense]", "adapt=head", f"checkpoint={tmp_path}",
        "evaluation.metrics=[{_target_: builtins.dict}]",
    )  # fmt: skip
    check(config)
    with pytest.raises(ConfigError) as raised:
        RunContext(config, RunFolder(tmp_path / "run"))
    message = str(raised.value)
    assert len(raised.value.problems) == 4
    for part in (
        "nonsense",
        "head is not a part of this model",
        "holds neither a run",
        "evaluation.metrics",
    ):
        assert part in message


@pytest.mark.parametrize(
    "key", ["evaluation.slices=[language,acctor]", "evaluation.group_by=acctor"]
)
def test_a_key_that_no_record_has_is_refused_before_scoring(composed, tmp_path, key):
    context = RunContext(composed(key), RunFolder(tmp_path / "run"))
    with pytest.raises(ConfigError, match="no held-out record has the key acctor; there are"):
        check_context(context, starts=True)


@pytest.mark.slow
def test_a_plan_without_steps_or_trainable_weights_is_a_problem(composed, tmp_path):
    config = composed("peft=none", "model.freeze_audio=true", "model.train_projector=false")
    check(config)
    plan = make_plan(RunContext(config, RunFolder(tmp_path / "run")))
    assert not plan.problems()
    assert "would take no step" in replace(plan, steps=0).problems()[0]
    assert "No weights would be trained" in replace(plan, trainable=0).problems()[0]


def test_a_plan_without_training_has_no_trainable_weights(composed, tmp_path):
    config = composed("stages=[evaluate]", "batch.eval_clips=2")
    plan = make_plan(RunContext(config, RunFolder(tmp_path / "run")))
    text = "\n".join(plan.lines())
    assert "trainable" not in text
    assert plan.memory.weights == 4 * plan.parameters
    assert (plan.memory.gradients, plan.memory.optimizer) == (0, 0)
    assert plan.memory.activations > 0
    assert "parameters, cpu in float32" in text


@pytest.mark.parametrize("name", ["", "features"])
def test_an_empty_cache_variable_turns_the_cache_off(plan_of, monkeypatch, tmp_path, name):
    monkeypatch.setenv("DRAMAEVAL_CACHE", name and str(tmp_path / name))
    cache = plan_of().record_encoder.cache
    assert (cache and cache.folder) == (tmp_path / name if name else None)


def test_a_plan_states_the_seconds_of_thoughts_where_they_can_be_measured(plan_of, monkeypatch):
    measured = []

    def measure(skeleton, family, device, dtype, *, prompt_tokens, texts):
        measured.append((prompt_tokens, texts))
        return GenerationTime(prompt=2.0, step=0.25)

    monkeypatch.setattr(planner, "measure_generation", measure)
    thoughts = (
        "task=role_caption", "task.dimensions=[pitch_dynamics]", "task.thought_tokens=8",
        "stages=[evaluate]",
    )  # fmt: skip
    plan = make_plan(plan_of(*thoughts, "plan=true"))
    # Three questions in one batch: 3 prompts of 2 s and 8 passes of 0.25 s, which extend 3 thoughts each.
    assert plan.thoughts.seconds == 8.0
    assert measured == [(plan.longest_question, 3)]
    assert "; at most about 8 s with one process on this machine" in "\n".join(plan.lines())
    # A run that starts states the time left in its log; another machine is not measured.
    for others in (["plan=false"], ["plan=true", "plan_device=cuda"]):
        assert make_plan(plan_of(*thoughts, *others)).thoughts.seconds is None
    assert len(measured) == 1
