"""Errors of exhausted memory and of losses that are not finite: they name the batch, the cause and remedies."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dramaeval.compat.torch import is_out_of_memory
from dramaeval.config.batch_size import step_size
from dramaeval.config.keys import is_a
from dramaeval.evaluation.scoring import score
from dramaeval.models.failures import MemoryExhaustedError, NonFiniteLossError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.stages.training_arguments import build_arguments
from dramaeval.training import objectives
from dramaeval.training.grpo.settings import generations
from dramaeval.training.memory_advice import memory_advice

QUICK = (
    "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=2", "trainer.args.logging_steps=1",
    "trainer.args.save_strategy=no", "trainer.args.load_best_model_at_end=false",
    "trainer.args.eval_strategy=no", "trainer.args.max_steps=3",
)  # fmt: skip


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    train = make_clips("train", 4, seconds=(1.0, 1.5))

    def build(*overrides):
        data = [f"task.data.train={train}", f"task.data.val={train}"]
        # Without the cache, so that weights and clips that a test damages are used.
        config = composed(*QUICK, small_judge, "cache.enabled=false", *data, *overrides)
        check(config)
        return RunContext(config, RunFolder(tmp_path / "run"))

    return build


def too_large(logits, batch):
    """An objective that allocates more memory than any address space has."""
    return torch.empty(2**52, dtype=torch.float32).sum() + objectives.soft_ce(logits, batch)


def positions(text, words):
    """The position of each word in a text."""
    return [text.index(word) for word in words]


@pytest.mark.slow
def test_out_of_memory_in_training_names_the_batch_and_lists_remedies(run_of):
    trainer = make_trainer(run_of("trainer.args.gradient_accumulation_steps=3", "peft=none"))
    trainer.objective = objectives.WeightedObjective("too_large", {"too_large": too_large})
    with pytest.raises(MemoryExhaustedError) as raised:
        trainer.train()
    text = str(raised.value)
    assert "Out of memory at training step 1" in text
    records = [trainer.data_collator.sampler.records[at] for at in list(trainer.order)[:2]]
    longest = max(record.seconds for record in records)
    assert f"2 clips, 4 questions, longest clip {longest:.1f} s, longest prompt " in text
    total = sum(weight.numel() for weight in trainer.model.parameters())
    assert f"{total:,} parameters" in text
    assert "allocate memory" in text
    remedies = [
        "per_device_train_batch_size=1 trainer.args.gradient_accumulation_steps=6",
        "gradient_checkpointing=true", "peft=lora", "batch.questions_per_clip=1",
    ]  # fmt: skip
    assert positions(text, remedies) == sorted(positions(text, remedies))
    assert "batch.shared_prefix" not in text  # it is on already
    assert "max_seconds" not in text  # the clips are shorter
    assert raised.value.__cause__ is not None


@pytest.mark.slow
def test_remedies_that_are_already_set_are_not_listed(run_of):
    run = run_of(
        "trainer.args.gradient_checkpointing=true", "batch.shared_prefix=false",
        "trainer.args.per_device_train_batch_size=1",
    )  # fmt: skip
    trainer = make_trainer(run)
    trainer.objective = objectives.WeightedObjective("too_large", {"too_large": too_large})
    with pytest.raises(MemoryExhaustedError) as raised:
        trainer.train()
    remedies = str(raised.value).partition("Try, in this order:")[2]
    assert "1. batch.shared_prefix=true" in remedies
    for absent in ("gradient_checkpointing", "per_device", "peft=lora", "max_seconds"):
        assert absent not in remedies


def failed(config, folder, *, seconds=20.0, dimensions=10):
    """What the advice reads of a trainer and its batch, for a configuration."""
    model = torch.nn.Linear(1, 1)
    if config.peft:
        kind = "PREFIX_TUNING" if is_a(config.peft, "PrefixTuningConfig") else "LORA"
        model.peft_config = {"default": SimpleNamespace(peft_type=kind)}
    trainer = SimpleNamespace(
        run_config=config,
        args=build_arguments(config, RunFolder(folder), torch.device("cpu"), validates=False),
        model=model,
        num_generations=generations(config),
        record_encoder=SimpleNamespace(family=SimpleNamespace(takes_audio=True)),
        train_records=[SimpleNamespace(prompt_clips={"a.wav": seconds})],
        budget_batches=SimpleNamespace(largest=3000),
    )
    keys = [("a", str(number)) for number in range(dimensions)]
    return trainer, SimpleNamespace(questions=dimensions, question_keys=keys)


@pytest.mark.parametrize(
    ("overrides", "pass_and_step"),
    [
        ([], "batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["batch.per_device=4"], "batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["batch.per_device=4", "trainer.args.per_device_train_batch_size=4"],
         "trainer.args.per_device_train_batch_size=2 batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["trainer.args.per_device_train_batch_size=5", "trainer.args.gradient_accumulation_steps=3"],
         "trainer.args.per_device_train_batch_size=3 trainer.args.gradient_accumulation_steps=5"),
        (["batch.global=9", "batch.per_device=9"], "batch.per_device=3"),
        (["batch.global=8", "trainer.args.gradient_accumulation_steps=2"],
         "batch.per_device=2 trainer.args.gradient_accumulation_steps=4"),
        (["batch.per_device=1", "batch.shared_prefix=false"], None),
        (["batch.shared_prefix=false", "model.attention=eager", "peft=prefix"],
         "batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["batch.max_tokens=5000", "peft=none"], None),
        (["peft=none", "adapt=all", "model.freeze_audio=true"], "batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["peft=none", "trainer.learning_rates.audio=1e-5"],
         "batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["trainer=grpo"], "batch.per_device=2 trainer.args.gradient_accumulation_steps=2"),
        (["trainer=grpo", "+trainer.args.steps_per_generation=1"],
         "batch.per_device=2 trainer.args.gradient_accumulation_steps=2 trainer.args.steps_per_generation=2"),
        (["trainer=grpo", "trainer.estimator=enumerated", "batch.per_device=1"], None),
        (["trainer.objective=soft_ce+ranking", "batch.per_device=2"], None),
    ],
)  # fmt: skip
def test_all_advice_is_accepted_by_the_same_run_and_a_step_keeps_its_size(
    composed, problems_of, tmp_path, overrides, pass_and_step
):
    overrides = ["device=cpu", "logger=none", *overrides]
    config = composed(*overrides)
    assert problems_of(*overrides) == []
    advice = [text.partition(": ")[0] for text in memory_advice(*failed(config, tmp_path))]
    assert advice
    assert [text for text in advice if "per_device" in text] == [pass_and_step] * bool(
        pass_and_step
    )
    for text in advice:
        words = [*overrides, *text.split()]
        assert problems_of(*words) == []
        changed = composed(*words)
        assert changed != config
        build_arguments(changed, RunFolder(tmp_path), torch.device("cpu"), validates=False)
        if "per_device" in text:
            before, after = step_size(config, 1), step_size(changed, 1)
            assert (after.clips, after.per_device < before.per_device) == (before.clips, True)


def test_advice_that_would_change_nothing_is_not_given(composed, tmp_path):
    config = composed(
        "device=cpu", "logger=none", "batch.per_device=1", "batch.shared_prefix=false"
    )
    trainer, batch = failed(config, tmp_path, seconds=15.0, dimensions=1)
    assert [text.partition("=")[0] for text in memory_advice(trainer, batch)] == [
        "trainer.args.gradient_checkpointing"
    ]


def test_a_trainer_from_python_gets_advice_about_arguments_of_python(composed, tmp_path):
    config = composed("trainer=grpo", "device=cpu", "logger=none", "peft=none")
    trainer, batch = failed(config, tmp_path)
    trainer.run_config = None
    trainer.record_encoder.task = SimpleNamespace(prompts_per_record=1)
    # TRL counts 4 clips with 8 completions each
    assert [text.partition(": ")[0] for text in memory_advice(trainer, batch)] == [
        "per_device_train_batch_size=16, gradient_accumulation_steps=2 in args",
        "gradient_checkpointing=True in args",
        "peft_config=create_peft_config()",
    ]


def test_out_of_memory_in_scoring_suggests_fewer_clips(run_of):
    run = run_of()
    run.model.register_forward_hook(lambda *_: torch.empty(2**52))
    with pytest.raises(MemoryExhaustedError) as raised:
        score(run.model, run.splits["val"], run.record_encoder, clips_a_batch=4)
    assert "Out of memory while scoring" in str(raised.value)
    assert "4 clips, 8 questions" in str(raised.value)
    assert "batch.eval_clips=2" in str(raised.value)


def test_errors_of_exhausted_memory_are_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**52)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(MemoryError) as by_numpy:
        np.empty(2**52)
    assert is_out_of_memory(by_numpy.value)
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.slow
def test_an_infinite_weight_stops_with_the_questions_of_the_batch(run_of):
    trainer = make_trainer(run_of())
    broken = next(
        name for name, _ in trainer.model.named_parameters() if name.endswith("norm.weight")
    )
    dict(trainer.model.named_parameters())[broken].data[0] = torch.inf
    with pytest.raises(NonFiniteLossError) as raised:
        trainer.train()
    text = str(raised.value)
    assert "The loss is not finite at training step 1" in text
    assert "4 of 4 in the batch" in text
    for at in list(trainer.order)[:2]:
        for dimension in ("pitch_dynamics", "trait_embodiment"):
            assert f"train-{at} × {dimension}" in text
    assert f"{broken} holds NaN or infinity" in text
    assert "broken before the first step" in text


@pytest.mark.slow
def test_only_questions_whose_loss_is_not_finite_are_named(run_of):
    trainer = make_trainer(run_of())
    first, second = list(trainer.order)[:2]
    record_encoder, records = trainer.record_encoder, trainer.data_collator.sampler.records
    # The cached features of one clip are damaged.
    (window,) = record_encoder._features(str(records[second].clip))
    window.values[:] = np.nan
    with pytest.raises(NonFiniteLossError) as raised:
        trainer.train()
    text = str(raised.value)
    assert "2 of 4 in the batch" in text
    assert f"train-{second} × pitch_dynamics" in text
    assert f"train-{first} ×" not in text
    assert "weights: all finite" in text
    remedies = [
        "look at the records",
        "debug=true",
        "max_grad_norm=0.5",
        "warmup_steps",
        "learning_rate=0.001",
    ]
    assert positions(text, remedies) == sorted(positions(text, remedies))


def root_of_zero(logits, batch):
    """An objective with a finite value and an infinite gradient."""
    return (logits[batch.score_index].sum(-1) * 0).abs().sqrt() + 1


@pytest.mark.slow
def test_debug_names_the_operation_of_a_gradient_that_is_not_finite(run_of):
    run = run_of("debug=true")
    trainer = make_trainer(run)
    trainer.objective = objectives.WeightedObjective("root_of_zero", {"root_of_zero": root_of_zero})
    with run.loggers, pytest.raises(NonFiniteLossError) as raised:
        trainer.train()
    assert "AbsBackward0" in str(raised.value)
    assert "train-" in str(raised.value)
    assert not torch.is_anomaly_enabled()


def test_other_errors_are_unchanged(run_of):
    def wrong(logits, batch):
        raise RuntimeError("something else")

    trainer = make_trainer(run_of())
    trainer.objective = objectives.WeightedObjective("wrong", {"wrong": wrong})
    with pytest.raises(RuntimeError, match="something else") as raised:
        trainer.train()
    assert type(raised.value) is RuntimeError
