"""Formulas of operations and activations, compared with PyTorch's counter and with the tensors that a step keeps."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dramaeval.models.families.base import Family
from dramaeval.models.planning.flops import Shape, Work, forward, training_step, with_padding
from dramaeval.models.planning.memory import estimate
from dramaeval.stages.builders import build_family
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


@pytest.fixture
def step_of(composed, make_clips, tmp_path):
    """A function that builds a trainer and its first batch, which has one clip of 8 s."""

    def build(*overrides):
        train = make_clips("train", 1, seconds=(8.0,))
        config = composed(
            f"task.data.train={train}", "stages=[train]", "device=cpu", "cache.enabled=false",
            "batch.per_device=1", "trainer.args.max_steps=1", *overrides,
        )  # fmt: skip
        check(config)
        trainer = make_trainer(RunContext(config, RunFolder(tmp_path / "run")))
        trainer.model.train()
        return trainer, trainer.data_collator([{"record": 0}])["batch"]

    return build


def work_of(batch):
    """The `Work` of a batch: its number of tokens, branches, frames and answers."""
    inputs = batch.inputs
    prefix = inputs["prefix_mask"].shape[1] if "prefix_mask" in inputs else 0
    branches = inputs.get("branch_count", inputs["input_ids"].shape[0])
    computed = inputs["input_ids"].numel() - prefix
    frames = int(inputs["feature_frames"][0])
    answers = len(batch.labels) // branches
    return Work(
        prefix=prefix, branches=branches, width=computed // branches, frames=frames, answers=answers
    )


def shape_of(trainer):
    return Shape.of(trainer.model.config)


CASES = pytest.mark.parametrize(
    ("overrides", "rank"),
    [
        (("peft=lora",), 16),
        (("peft=lora", "batch.questions_per_clip=1"), 16),
        (("peft=none",), 0),
        (("peft=none", "batch.shared_prefix=false", "batch.questions_per_clip=3"), 0),
    ],
)


def loss_of(trainer, batch):
    terms = trainer.objective(trainer.model(**batch.inputs).logits, batch)
    return sum(term.sum() for term in terms.values())


@pytest.mark.slow
@CASES
def test_operations_and_activations_equal_those_of_pytorch(step_of, overrides, rank):
    trainer, batch = step_of(*overrides)
    shape, work = shape_of(trainer), work_of(batch)
    # The counter does not count fused attention on the CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = loss_of(trainer, batch)
        forward_flops = counter.get_total_flops()
        loss.backward()
    assert forward(shape, [work], rank=rank).total == pytest.approx(forward_flops, rel=0.005)
    step = training_step(shape, [work], rank=rank).total
    assert step == pytest.approx(counter.get_total_flops(), rel=0.01)

    weights = {weight.untyped_storage().data_ptr() for weight in trainer.model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(trainer, batch)
    measured = sum(size for pointer, size in kept.items() if pointer not in weights)
    assert loss.requires_grad
    expected = estimate(
        total=0, trainable=0, bytes_per_weight=4, tokens=work.tokens, hidden=shape.hidden,
        layers=shape.layers, inner=shape.inner, copied=work.copied,
        audio=0 if rank else shape.tower_bytes(work.frames, 4),
    )  # fmt: skip
    assert expected.activations == pytest.approx(measured, rel=0.2)


def test_operations_of_the_7b_model_by_hand(composed):
    family: Family = build_family(composed("model=qwen2_audio_7b"))
    shape = Shape.of(family.configuration(family.architecture))
    assert shape.adapter_weights(16) == 39_976_960
    assert shape.layer_weights == 4 * 4096**2 + 3 * 4096 * 11008
    text = forward(shape, [Work(prefix=0, branches=1, width=1000, answers=6)])
    assert text.decoder == 2 * 1000 * 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert text.attention == 4 * 1000**2 * 4096 * 32
    assert text.head == 2 * 6 * 4096 * 156032
    assert text.audio == 0
    adapted = forward(shape, [Work(prefix=0, branches=1, width=1000)], rank=16)
    assert adapted.adapter == 2 * 1000 * 39_976_960


def test_a_shared_prefix_is_counted_once():
    separate = Work(prefix=0, branches=10, width=700)
    shared = Work(prefix=600, branches=10, width=100)
    assert (separate.tokens, shared.tokens) == (7000, 1600)
    assert shared.pairs == 600**2 + 10 * 100 * 700
    assert (separate.copied, shared.copied) == (0, 7000)


def test_padding_makes_all_clips_of_a_pass_as_large_as_the_largest():
    small = Work(prefix=100, branches=2, width=30, frames=200, answers=2)
    large = Work(prefix=300, branches=3, width=20, frames=900)
    assert set(with_padding([small, large], 1, seed=0)) == {small, large}
    padded = with_padding([small, large], 2, seed=0)
    assert [each.tokens for each in padded] == [300 + 3 * 30] * 2
    assert sorted(each.answers for each in padded) == [1, 2]
    assert [each.frames for each in padded] == [900, 900]
    # Separate rows are as wide as the widest, and stay as many as they are.
    rows = [Work(prefix=0, branches=2, width=10), Work(prefix=0, branches=5, width=40)]
    assert sorted(each.tokens for each in with_padding(rows, 2, seed=0)) == [80, 200]


def test_the_plan_shows_the_operations_of_a_step(composed, make_clips, tmp_path):
    config = composed(
        f"task.data.train={make_clips('train', 4)}", "stages=[train]", "batch.per_device=2"
    )
    plan = make_plan(RunContext(config, RunFolder(Path(tmp_path) / "run")))
    assert plan.operations > 0
    assert any("TFLOP a step" in line for line in plan.lines())
