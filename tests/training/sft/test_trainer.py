"""The trainer of supervised fine-tuning: trained parts, losses, logged metrics, best step, resuming."""

import copy
import os
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from dramaeval.config.schema import PACKAGE
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.stages.training_arguments import loader_arguments
from dramaeval.training.validation_metrics import validation_metrics

TINY = PACKAGE / "models" / "tiny"
QUICK = (
    "device=cpu",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.max_steps=3",
    "trainer.args.logging_steps=1",
    "trainer.args.save_strategy=no",
    "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.warmup_steps=0",
    "peft.lora_dropout=0",
    "evaluation.draws=50",
)


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    train, val = make_clips("train", 8), make_clips("val", 6, seed=1)

    def build(*overrides, name="run"):
        quick = [
            one for one in QUICK if "peft=none" not in overrides or not one.startswith("peft.")
        ]
        data = (f"task.data.train={train}", f"task.data.val={val}")
        config = composed(*quick, small_judge, *data, *overrides)
        check(config)
        return RunContext(config, RunFolder(tmp_path / name))

    return build


def trained(run):
    """Train and return the trainer and copies of the weights before and after."""
    trainer = make_trainer(run)
    before = {name: copy.deepcopy(weight.data) for name, weight in trainer.model.named_parameters()}
    trainer.train()
    after = {name: weight.data for name, weight in trainer.model.named_parameters()}
    return trainer, before, after


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_lora_changes_the_language_model_and_nothing_else(run_of):
    trainer, before, after = trained(run_of("trainer.args.max_steps=1"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("language_model" in name and "lora_" in name for name in changed)
    adapted = {name.split(".lora_")[0] for name in changed}
    layers = trainer.model.config.text_config.num_hidden_layers
    assert len(adapted) == 7 * layers
    # Layers of the audio tower have the same names as layers of the language model.
    assert not any(
        "audio_tower" in name for name, w in trainer.model.named_parameters() if w.requires_grad
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapt", "parts"),
    [("audio", {"audio_tower"}), ("[llm,projector]", {"language_model", "multi_modal_projector"}),
     ("all", {"audio_tower", "language_model", "multi_modal_projector"})],
)  # fmt: skip
def test_adapt_selects_the_trained_parts(run_of, adapt, parts):
    _, before, after = trained(run_of(f"adapt={adapt}", "trainer.args.max_steps=1"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {next(p for p in parts if p in name) for name in changed} == parts


@pytest.mark.slow
def test_full_fine_tuning_trains_all_weights_except_the_sinusoidal_positions(run_of):
    _, before, after = trained(run_of("peft=none", "trainer.args.max_steps=1"))
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged == {"model.audio_tower.embed_positions.weight"}


@pytest.mark.slow
def test_training_lowers_the_loss(run_of):
    trainer, _, _ = trained(
        run_of("trainer.args.max_steps=12", "trainer.args.learning_rate=5e-3", f"model.path={TINY}")
    )
    found = losses(trainer)
    assert np.mean(found[-3:]) < 0.8 * found[0]


@pytest.mark.slow
def test_accumulation_equals_one_large_batch(run_of):
    """1 × 4 and 4 × 1 clips per step; the clips differ in length and in their number of questions."""
    settings = [(1, 4), (4, 1)]
    weights, logged = [], []
    for size, accumulate in settings:
        run = run_of(
            f"trainer.args.per_device_train_batch_size={size}",
            f"trainer.args.gradient_accumulation_steps={accumulate}",
            "trainer.args.max_steps=2",
            "trainer.args.optim=sgd",  # proportional to the gradient, unlike Adam
        )
        for record in run.splits["train"][::3]:
            # A clip without ratings of a dimension has fewer questions.
            record.ratings["trait_embodiment"] = (None,) * 6
        trainer, _, after = trained(run)
        weights.append(after)
        logged.append(losses(trainer))
    np.testing.assert_allclose(logged[0], logged[1], rtol=1e-4)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_shared_and_separate_prefixes_have_the_same_losses(run_of):
    found = [
        losses(trained(run_of(f"batch.shared_prefix={shared}"))[0]) for shared in ("true", "false")
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


@pytest.mark.slow
def test_the_loss_is_the_mean_over_questions(run_of):
    """The expected loss is computed here from single questions."""
    run = run_of(
        "trainer.args.max_steps=1",
        "trainer.args.per_device_train_batch_size=4",
        "trainer.objective=soft_ce",
    )
    trainer = make_trainer(run)
    rows = [{"record": at} for at in list(trainer.order)[:4]]
    each = []
    for row in rows:
        batch = trainer.data_collator([row])["batch"]
        log_p = trainer.model(**batch.inputs).logits.log_softmax(-1)
        for question in range(batch.questions):
            answers = (batch.question_of == question).nonzero()[:, 0]
            nll = [-log_p[a, batch.labels[a]] for a in answers if a not in batch.score_index]
            at = batch.score_index[question]
            soft = -(batch.targets[question] * log_p[at, batch.score_tokens[question]]).sum()
            each.append(float(sum(nll) + soft))
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.slow
def test_the_seed_determines_the_training(run_of):
    first, again, other = (
        losses(trained(run_of(f"seed={s}", "trainer.args.max_steps=2"))[0]) for s in (3, 3, 4)
    )
    assert first == again
    assert first != other


@pytest.mark.slow
def test_logged_metrics_of_training_and_validation(run_of):
    trainer, _, _ = trained(
        run_of("trainer.args.max_steps=1", "trainer.args.eval_strategy=steps", "trainer.args.eval_steps=1")
    )  # fmt: skip
    train = next(entry for entry in trainer.state.log_history if "loss" in entry)
    for key in ("learning_rate", "grad_norm", "tokens_per_second", "clips_per_second"):
        assert train[key] > 0, key
    counts = [train[key] for key in train if key.startswith("score_") and key.endswith("/count")]
    assert sum(counts) == 4  # two clips, two dimensions each
    val = next(entry for entry in trainer.state.log_history if "eval_cross_entropy" in entry)
    assert -1 <= val["eval_pearson"] <= 1
    assert {"eval_pearson/pitch_dynamics", "eval_pearson/trait_embodiment", "eval_accuracy"} <= set(
        val
    )


@pytest.mark.slow
@pytest.mark.parametrize(("peft", "rate"), [("lora", "3e-2"), ("none", "1e-2")])
def test_the_best_step_is_loaded_at_the_end_and_its_checkpoint_is_kept(run_of, peft, rate):
    run = run_of(
        f"peft={peft}", f"trainer.args.learning_rate={rate}",
        "trainer.args.save_strategy=steps", "trainer.args.save_steps=1",
        "trainer.args.eval_strategy=steps", "trainer.args.eval_steps=1",
        "trainer.args.load_best_model_at_end=true", "trainer.args.max_steps=4",
    )  # fmt: skip
    trainer = make_trainer(run)
    trainer.train()
    scores = {
        e["step"]: e["eval_pearson"] for e in trainer.state.log_history if "eval_pearson" in e
    }
    best = max(scores, key=scores.get)
    assert trainer.state.best_global_step == best
    assert trainer.evaluate()["eval_pearson"] == pytest.approx(scores[best], abs=1e-6)
    first = trainer.val_records[:3]
    expected = validation_metrics(trainer.predict_records(first))["mse"]
    assert trainer.evaluate(first)["eval_mse"] == pytest.approx(expected)
    assert trainer.evaluate()["eval_mse"] != pytest.approx(expected)
    with pytest.raises(TypeError, match="give a list of records"):
        trainer.evaluate(trainer.train_dataset)
    kept = {one.name for one in run.folder.checkpoints.glob("checkpoint-*")}
    assert kept == {f"checkpoint-{best}", "checkpoint-4"} | (
        {"checkpoint-3"} if best == 4 else set()
    )


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_a_resumed_training_has_the_same_last_loss(run_of, peft):
    settings = (f"peft={peft}", "trainer.args.save_strategy=steps", "trainer.args.save_steps=2",
                "trainer.args.max_steps=4", "trainer.args.save_total_limit=4")  # fmt: skip
    run = run_of(*settings)
    whole, _, _ = trained(run)
    again = run_of(*settings)
    checkpoint = run.folder.checkpoints / "checkpoint-2"
    trainer = make_trainer(again, checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert losses(trainer)[-1] == losses(whole)[-1]


@pytest.mark.slow
def test_gradient_checkpointing_does_not_change_the_losses(run_of):
    found = [
        losses(trained(run_of(f"trainer.args.gradient_checkpointing={on}"))[0])
        for on in ("true", "false")
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_dimensions_are_sampled_equally_often(run_of):
    run = run_of("task.dimensions=null", "batch.questions_per_clip=3")
    sampler = make_trainer(run).data_collator.sampler
    counts = Counter(key for epoch in range(10) for key in sampler(5, epoch).targets)
    assert counts == dict.fromkeys([dimension.key for dimension in run.task.dimensions], 3)


def test_trainer_arguments_are_passed_to_trl(run_of):
    run = run_of("trainer.args.weight_decay=0.123", "trainer.args.max_grad_norm=0.5")
    args = make_trainer(run).args
    assert (args.weight_decay, args.max_grad_norm, args.seed) == (0.123, 0.5, 0)
    assert OmegaConf.to_container(run.config.trainer)["args"]["weight_decay"] == 0.123


def test_a_record_without_a_rating_is_left_out_of_training(run_of, caplog):
    run = run_of("trainer.args.max_steps=1")
    for field in list(run.splits["train"][0].ratings):
        run.splits["train"][0].ratings[field] = (None, None)
    trainer = make_trainer(run)
    assert len(trainer.order) == 7
    assert "1 of 8 training records have no rating" in caplog.text


@pytest.mark.slow
def test_an_undefined_correlation_selects_no_best_step(run_of, caplog):
    run = run_of(
        "trainer.args.save_strategy=steps", "trainer.args.save_steps=1",
        "trainer.args.eval_strategy=steps", "trainer.args.eval_steps=1",
        "trainer.args.load_best_model_at_end=true", "trainer.args.max_steps=2",
    )  # fmt: skip
    del run.splits["val"][2:]  # two records: no correlation
    trainer = make_trainer(run)
    trainer.train()
    assert trainer.state.best_global_step is None
    assert "eval_pearson is undefined" in caplog.text


@pytest.mark.parametrize("trainer", ["sft", "grpo"])
def test_validation_skips_a_clip_that_cannot_be_decoded_as_the_settings_say(run_of, trainer):
    grpo = ["trainer.args.per_device_train_batch_size=8"] if trainer == "grpo" else []
    run = run_of(f"trainer={trainer}", "task.data.on_bad=skip", *grpo)
    clip = run.splits["val"][2].clip
    expected = make_trainer(run).evaluate([r for r in run.splits["val"] if r.clip != clip])
    samples, rate = soundfile.read(clip)
    samples[5] = np.nan
    soundfile.write(clip, samples, rate, subtype="FLOAT")
    run = run_of(f"trainer={trainer}", "task.data.on_bad=skip", *grpo)
    assert len(run.splits["val"]) == 6  # its header is readable
    figures = make_trainer(run).evaluate()
    assert figures["eval_mse"] == pytest.approx(expected["eval_mse"], rel=1e-5)
    with pytest.raises(BadRecordsError, match="val-2"):
        make_trainer(run_of(f"trainer={trainer}", *grpo)).evaluate()


def test_a_truncated_clip_is_named_with_its_record(run_of):
    run = run_of("trainer.args.max_steps=1")
    record = run.splits["train"][0]
    # The header was read before; decoding finds that samples are missing.
    record.clip.write_bytes(record.clip.read_bytes()[:200])
    trainer = make_trainer(run)
    with pytest.raises(BadRecordsError, match="train-0"):
        trainer.data_collator([{"record": 0}])


def test_a_loader_process_reports_a_truncated_clip_as_the_training_process_does(run_of):
    run = run_of(
        "trainer.args.max_steps=4",  # an epoch
        "trainer.args.dataloader_num_workers=1",
        "cache.enabled=false",
    )
    clip = run.splits["train"][5].clip
    clip.write_bytes(clip.read_bytes()[:200])
    trainer = make_trainer(run)
    with pytest.raises(BadRecordsError) as by_hand:
        trainer.data_collator([{"record": 5}])
    with pytest.raises(BadRecordsError) as in_training:
        trainer.train()
    assert "train-5" in str(in_training.value)
    assert str(in_training.value) == str(by_hand.value)
    assert in_training.value.problems == by_hand.value.problems


@pytest.mark.slow
def test_loader_processes_prepare_the_same_clips_and_questions(run_of):
    """The training has several epochs, and the sampled questions of a loader process depend on the epoch."""
    found = []
    for workers in (0, 2):
        trainer, _, _ = trained(
            run_of(
                "task.labels=sample",
                "trainer.args.max_steps=9",  # 4 steps per epoch
                "batch.questions_per_clip=1",
                "cache.enabled=false",
                f"trainer.args.dataloader_num_workers={workers}",
                f"trainer.args.dataloader_persistent_workers={bool(workers)}",
                name=f"workers{workers}",
            )
        )
        assert trainer.record_encoder.decoded == (0 if workers else 8)
        found.append(losses(trainer))
    assert found[0] == found[1]
    assert len(set(found[0])) == 9


@pytest.mark.parametrize(
    ("device", "cores", "processes", "workers"),
    [("cpu", 8, 1, 0), ("cuda", 2, 1, 1), ("cuda", 16, 1, 4), ("cuda", 16, 8, 1), ("cuda", 8, 8, 0)],
)  # fmt: skip
def test_the_default_number_of_loader_processes(
    composed, monkeypatch, tmp_path, device, cores, processes, workers
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    config = composed(f"processes={processes}", "zero=none")
    arguments = loader_arguments(config, torch.device(device))
    assert arguments["dataloader_num_workers"] == workers
    assert arguments["dataloader_persistent_workers"] == (workers > 0)
    given = composed("trainer.args.dataloader_num_workers=3")
    assert loader_arguments(given, torch.device(device)) == {}
