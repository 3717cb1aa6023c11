"""Operations and memory by formula, against PyTorch's own counter and against what a step really keeps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dramaeval.models.families.base import Family
from dramaeval.models.inputs.audio_encodings import unwrap_judge
from dramaeval.models.planning.flops import Shape, Work, forward, training_step
from dramaeval.models.planning.memory import estimate
from dramaeval.stages.builders import build_family
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


@pytest.fixture
def step_of(composed, make_clips, tmp_path):
    """A trainer and its first batch, of one long clip."""

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
    """What the batch really holds."""
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
    return Shape.of(trainer.model.config, reads_last=unwrap_judge(trainer.model).reads_last)


CASES = pytest.mark.parametrize(
    ("overrides", "rank"),
    [
        (("peft=lora",), 16),
        (("peft=lora", "batch.questions_per_clip=1"), 16),
        (("peft=none",), 0),
        (("peft=none", "batch.shared_prefix=false", "batch.questions_per_clip=3"), 0),
        (("peft=lora", "model.plain=[last_layer]"), 16),
        (("peft=none", "model.plain=[last_layer]"), 0),
    ],
)


def loss_of(trainer, batch):
    terms = trainer.objective(trainer.model(**batch.inputs).logits, batch)
    return sum(term.sum() for term in terms.values())


@CASES
def test_operations_of_a_step_equal_those_that_pytorch_counts(step_of, overrides, rank):
    trainer, batch = step_of(*overrides)
    shape, work = shape_of(trainer), work_of(batch)
    # Fused attention on the CPU is not among the operations that the counter knows.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = loss_of(trainer, batch)
        once = counter.get_total_flops()
        loss.backward()
    assert forward(shape, [work], rank=rank).total == pytest.approx(once, rel=0.005)
    whole = training_step(shape, [work], rank=rank).total
    assert whole == pytest.approx(counter.get_total_flops(), rel=0.01)


@CASES
def test_activations_are_what_a_step_keeps(step_of, overrides, rank):
    trainer, batch = step_of(*overrides)
    weights = {one.untyped_storage().data_ptr() for one in trainer.model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(trainer, batch)
    measured = sum(size for place, size in kept.items() if place not in weights)
    assert loss.requires_grad
    shape, work = shape_of(trainer), work_of(batch)
    expected = estimate(
        total=0, trainable=0, bytes_a_weight=4, tokens=work.tokens, hidden=shape.hidden,
        layers=shape.layers, inner=shape.inner, copied=work.copied,
        read=work.read if shape.reads_last else None,
        audio=0 if rank else shape.tower_bytes(work.frames, 4),
    )  # fmt: skip
    assert expected.activations == pytest.approx(measured, rel=0.2)


def test_the_7b_by_hand(composed):
    family: Family = build_family(composed("model=qwen2_audio_7b"))
    shape = Shape.of(family.configuration(family.architecture), reads_last=True)
    # FACTS: 39,976,960 weights of LoRA r=16 on the language model's seven projections.
    assert shape.adapter_weights(16) == 39_976_960
    assert shape.layer_weights == 4 * 4096**2 + 3 * 4096 * 11008
    text = forward(shape, [Work(prefix=0, branches=1, width=1000, answers=6)])
    layer, keys = 4 * 4096**2 + 3 * 4096 * 11008, 2 * 4096**2
    assert text.decoder == 2 * (1000 * (31 * layer + keys) + 6 * (layer - keys))
    assert text.attention == 4 * 4096 * (31 * 1000**2 + 6 * 1000)
    adapted = forward(shape, [Work(prefix=0, branches=1, width=1000, answers=6)], rank=16)
    others, own = 2 * 2 * 4096 + 3 * (4096 + 11008), 2 * 2 * 4096
    assert adapted.adapter == 2 * 16 * (1000 * (31 * (others + own) + own) + 6 * others)
    whole = replace(shape, reads_last=False)
    text = forward(whole, [Work(prefix=0, branches=1, width=1000)])
    assert text.decoder == 2 * 1000 * 32 * layer
    assert text.attention == 4 * 1000**2 * 4096 * 32
    assert text.head == 2 * 4096 * 156032
    assert text.audio == 0


def test_branches_compute_what_they_share_once():
    apart = Work(prefix=0, branches=10, width=700)
    shared = Work(prefix=600, branches=10, width=100)
    assert (apart.tokens, shared.tokens) == (7000, 1600)
    assert shared.pairs == 600**2 + 10 * 100 * 700
    assert (apart.copied, shared.copied) == (0, 7000)


def test_the_plan_tells_the_operations(composed, make_clips, tmp_path):
    config = composed(
        f"task.data.train={make_clips('train', 4)}", "stages=[train]", "batch.per_device=2"
    )
    plan = RunContext(config, RunFolder(Path(tmp_path) / "run")).plan()
    assert plan.operations > 0
    assert any("TFLOP a step" in line for line in plan.lines())
