"""Every audio family on small random models, against the forward pass of transformers."""

import itertools
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from all_kinds import LONG_KINDS
from audio_kinds import (
    RATE,
    TINY,
)
from grpo_trainers import generate, log_p_of
from transformers import AutoTokenizer

from dramaeval.data.audio import decode
from dramaeval.data.records import read_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.inputs.clip_check import clip_problem
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.tasks.question import Target

CPU = torch.device("cpu")


def test_the_name_of_a_transform_has_the_version_of_the_features(kind, folder, monkeypatch):
    """The name is a part of the keys of cached features, which a new version must not find."""
    family = kind.family(path=str(folder))
    transform = family.log_mel(family.processor())
    for part in type(transform).__mro__[:-1]:
        monkeypatch.setattr(sys.modules[part.__module__], "VERSION", 99, raising=False)
    assert family.log_mel(family.processor()).name != transform.name


def test_a_skeleton_has_the_parameters_and_buffers_of_the_loaded_model(kind, folder):
    """Tied weights are one parameter in both; buffers have their values."""
    family = kind.family(path=str(folder))
    skeleton, judge = family.skeleton(), family.load(CPU)
    assert all(weight.is_meta for weight in skeleton.parameters())
    shapes, expected = (
        [(name, weight.shape) for name, weight in model.named_parameters()]
        for model in (skeleton, judge)
    )
    assert shapes == expected
    buffers = dict(judge.named_buffers())
    assert dict(skeleton.named_buffers()).keys() == buffers.keys()
    for name, buffer in skeleton.named_buffers():
        torch.testing.assert_close(buffer, buffers[name])


@pytest.mark.slow
def test_both_clips_of_a_pair_fit_into_a_prompt(kind, folder, composed, make_clips):
    task = build_task(composed("task=pair_direct", "task.dimensions=[human_likeness]"))
    first, second = read_records(
        make_clips("clip", 2, seconds=(0.8, 2.3)), build_task(composed()).record_format()
    ).records
    pair = replace(
        first,
        clip_b=second.clip,
        seconds_b=second.seconds,
        fields={"question": "You say:"},
        ratings={},
    )
    family = kind.family(path=str(folder))
    judge = family.load(CPU)
    encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=8)
    assert clip_problem(encoder, [pair]) is None
    (prediction,) = score(judge, [pair], encoder, shared_prefix=family.supports_shared_prefix())
    assert sum(prediction.order_ab) == pytest.approx(1, abs=1e-5)
    mirror = replace(
        pair, clip=pair.clip_b, seconds=pair.seconds_b, clip_b=pair.clip, seconds_b=pair.seconds
    )
    (reversed_pair,) = score(judge, [mirror], encoder, shared_prefix=False)
    assert reversed_pair.order_ba == pytest.approx(prediction.order_ab[::-1], abs=1e-5)
    assert prediction.order_ab != pytest.approx(prediction.order_ba, abs=1e-6)


@pytest.mark.slow
def test_logits_equal_the_plain_forward(kind, folder, composed, make_clips):
    task = build_task(composed())
    file = make_clips("clip", 3, seconds=(0.11, 3.21, 7.77))
    records = read_records(file, task.record_format()).records
    family = kind.family(path=str(folder))
    judge, processor = family.load(CPU), family.processor()
    record_encoder = RecordEncoder(task, processor, family, max_seconds=30, cache_clips=4)
    dimensions = task.dimensions[::5]
    encoded = [record_encoder.encode(record, dimensions) for record in records]
    # Each clip once: plain features of 300 s are slow.
    rows = [0, 3, 4]
    questions = list(itertools.product(records, dimensions))
    expected = [
        kind.logits(folder, task.messages(record, dimension), decode(record.clip, RATE))
        for record, dimension in (questions[row] for row in rows)
    ]
    for shared in (False, True):
        batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared)
        with torch.no_grad():
            logits = judge(**batch.inputs).logits
        torch.testing.assert_close(logits[rows], torch.stack(expected), atol=1e-4, rtol=0)
    features = encoded[1].clips[0]
    quiet = type(features)(np.full_like(features.values, features.floor), features.frames, 0.0)
    silenced = [encoded[0], type(encoded[1])((quiet,), encoded[1].questions), encoded[2]]
    with torch.no_grad():
        other = judge(**collate(silenced, pad=record_encoder.pad).inputs).logits
    changes = (other - logits).abs().amax(dim=1)
    assert changes[2:4].min() > 1e-3 > changes[[0, 1, 4, 5]].max()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG_KINDS, ids=lambda kind: kind.name)
def test_logits_of_a_clip_of_70_s_equal_the_plain_forward(kind, composed, make_clips, tmp_path):
    torch.manual_seed(0)
    kind.write(tmp_path, AutoTokenizer.from_pretrained(TINY))
    task = build_task(composed())
    file = make_clips("clip", 1, seconds=(70.0,))
    (record,) = task.read(file, max_seconds=80, on_long="segments").records
    family = kind.family(path=str(tmp_path))
    assert family.longest_clip >= 70
    judge = family.load(CPU)
    encoder = RecordEncoder(task, family.processor(), family, max_seconds=80, cache_clips=1)
    encoded = encoder.encode(record, task.dimensions[:1])
    assert len(encoded.clips) == kind.long_windows
    with torch.no_grad():
        (logits,) = judge(**collate([encoded], pad=encoder.pad).inputs).logits
    messages = task.messages(record, task.dimensions[0])
    expected = kind.logits(tmp_path, messages, decode(record.clip, RATE))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_features_are_cast_to_the_weights_of_16_bits(kind, folder, composed, make_clips):
    """Features are float32 whatever the weights are; on a GPU `model.dtype=auto` takes bfloat16."""
    task = build_task(composed())
    (record,) = task.read(make_clips("clip", 1)).records
    family = kind.family(path=str(folder))
    judge = family.load(CPU, dtype=torch.bfloat16)
    encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=1)
    batch = collate([encoder.encode(record, task.dimensions[:2])], pad=encoder.pad)
    with torch.no_grad():
        logits = judge(**batch.inputs).logits
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


@pytest.mark.slow
def test_plain_steps_give_the_same_values_and_gradients(kind, folder, composed, make_clips):
    task = build_task(composed())
    file = make_clips("clip", 3, seconds=(0.11, 3.21, 7.77))
    records = read_records(file, task.record_format()).records
    dimensions = task.dimensions[::5]
    targets = {dimension.key: Target(np.full(5, 0.2)) for dimension in dimensions}
    outputs, gradients = [], []
    for plain in ((), kind.family.plain_options):
        family = kind.family(path=str(folder), plain=plain)
        record_encoder = RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=4
        )
        encoded = [record_encoder.encode(record, dimensions, targets) for record in records]
        judge = family.load(CPU)
        logits = judge(**collate(encoded, pad=record_encoder.pad).inputs).logits
        logits.log_softmax(-1)[:, ::7].mean().backward()
        outputs.append(logits.detach())
        gradients.append(
            {
                name: weight.grad
                for name, weight in judge.named_parameters()
                if weight.grad is not None
            }
        )
    for output, gradient in zip(outputs[1:], gradients[1:], strict=True):
        torch.testing.assert_close(output, outputs[0], atol=1e-4, rtol=0)
        assert gradient.keys() == gradients[0].keys()
        for name, expected in gradients[0].items():
            assert (gradient[name] - expected).norm() <= 1e-3 * expected.norm() + 1e-6, name


@pytest.mark.slow
@pytest.mark.parametrize(("peft", "adapt"), [("lora", "all"), ("none", "llm")])
def test_a_step_of_training_and_scores(kind, folder, composed, make_clips, tmp_path, peft, adapt):
    config = composed(
        f"model={kind.name}", f"model.path={folder}", f"peft={peft}", f"adapt={adapt}", "device=cpu",
        "task.dimensions=[pitch_dynamics,trait_embodiment]", "trainer.args.max_steps=1",
        "trainer.args.logging_steps=1", "trainer.args.warmup_steps=0", "evaluation.zero_shot=false",
        "trainer.args.save_strategy=no", "trainer.args.eval_strategy=no",
        "trainer.args.load_best_model_at_end=false", "trainer.args.per_device_train_batch_size=2",
        "evaluation.draws=20", "evaluation.html=false",
        f"task.data.train={make_clips('train', 4)}", f"task.data.val={make_clips('val', 4, seed=1)}",
    )  # fmt: skip
    run = RunContext(config, RunFolder(tmp_path / "run"))
    parts = make_plan(run).by_part
    before = {name: weight.detach().clone() for name, weight in run.model.named_parameters()}
    run.folder.path.mkdir()
    run.folder.open(config)
    run_stages(run)
    after = run.model.get_base_model() if peft == "lora" else run.model
    after = {
        name.replace(".base_layer", ""): w
        for name, w in after.named_parameters()
        if ".lora_" not in name
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if peft == "lora":
        assert not changed
        assert all(trained > 0 for part, (trained, _) in parts.items() if part != "other")
    else:
        same = set(before) - changed
        assert all(any(part in name for part in kind.frozen) for name in same), same
        ears = kind.family.parts.get("audio") or kind.family.parts["projector"]
        assert any(ears in name for name in changed)
    lines = [json.loads(line) for line in run.folder.predictions("final").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["scored"] * 8
    # A judge that is loaded from the run gives the same scores.
    again = RunContext(
        composed(
            f"model={kind.name}", f"model.path={folder}", "stages=[evaluate]", "device=cpu",
            f"checkpoint={run.folder.path}", f"task.data.val={tmp_path / 'val.jsonl'}",
            "task.dimensions=[pitch_dynamics,trait_embodiment]", "evaluation.draws=20", "evaluation.html=false",
        ),
        RunFolder(tmp_path / "again"),
    )  # fmt: skip
    again.folder.path.mkdir()
    run_stages(again)
    reloaded = [
        json.loads(line) for line in again.folder.predictions("final").read_text().splitlines()
    ]
    for line, expected in zip(reloaded, lines, strict=True):
        np.testing.assert_allclose(line["distribution"], expected["distribution"], atol=1e-5)


@pytest.mark.slow
def test_a_resumed_training_gives_the_same_loss(kind, folder, composed, make_clips, tmp_path):
    """With 4-bit weights; trained base weights are saved and loaded again by the test of a step."""
    config = composed(
        f"model={kind.name}", f"model.path={folder}", "peft=qlora", "adapt=llm", "device=cpu", "stages=[train]",
        "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=2", "trainer.args.logging_steps=1",
        "trainer.args.save_strategy=steps", "trainer.args.save_steps=1", "trainer.args.save_total_limit=2",
        "trainer.args.per_device_train_batch_size=2", "trainer.args.eval_strategy=no",
        "trainer.args.load_best_model_at_end=false", "logger=none", f"task.data.train={make_clips('train', 4)}",
    )  # fmt: skip
    run = RunContext(config, RunFolder(tmp_path / "run"))
    run.folder.path.mkdir()
    losses = []
    for checkpoint in (None, run.folder.checkpoints / "checkpoint-1"):
        trainer = make_trainer(RunContext(config, run.folder), checkpoint)
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[1] == losses[0]
    assert losses[0][0] != losses[0][1]


@pytest.mark.slow
def test_a_step_of_grpo(kind, folder, composed, make_clips, tmp_path):
    config = composed(
        f"model={kind.name}", f"model.path={folder}", "trainer=grpo", "stages=[train]", "device=cpu",
        "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=1", "trainer.args.logging_steps=1",
        "trainer.args.warmup_steps=0", "trainer.args.per_device_train_batch_size=2", "logger=none",
        "trainer.args.num_generations=2", "trainer.args.max_completion_length=12",
        "trainer.args.save_strategy=no", "trainer.args.eval_strategy=no",
        "trainer.args.load_best_model_at_end=false",
        # Random weights generate random tokens up to the limit; this reward differs between them.
        f"+trainer.rewards.letters={{_target_: {__name__}.by_letters}}",
        f"task.data.train={make_clips('train', 4)}",
    )  # fmt: skip
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    make_plan(run)
    trainer = make_trainer(run)
    (inputs,) = generate(trainer, 0, 3)
    mask = inputs["completion_mask"].bool()
    shared = log_p_of(trainer, inputs)[mask]
    trainer.scorer.shared_prefix = trainer.scorer.audio.enabled = False
    separate = log_p_of(trainer, inputs)[mask]
    torch.testing.assert_close(shared, separate, atol=1e-4, rtol=0)
    trainer.train()
    (entry,) = [one for one in trainer.state.log_history if "loss" in one]
    assert abs(entry["kl"]) < 1e-6
    assert entry["grad_norm"] > 0


def by_letters(completions):
    """A reward that differs between most texts."""
    return [sum(map(ord, completion.text)) % 101 / 101 for completion in completions]
