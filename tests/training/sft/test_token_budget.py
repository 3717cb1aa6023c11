"""Batches by length: each epoch has every record once, each batch is within the budget, and resuming repeats them."""

import itertools
import json
import re

import pytest
import torch

from dramaeval.config.batch_size import BatchError
from dramaeval.config.problems import ConfigError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.training.sft.token_budget import Size, TokenBudgetBatches, TokenBudgetSampler
from dramaeval.training.step_batches import EpochOrder, record_of

SETTINGS = (
    "device=cpu",
    "stages=[train]",
    "batch.max_tokens=4000",
    "trainer.args.num_train_epochs=2",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)


#: One question per clip, with a smaller budget, so that there are as many batches as with ten questions.
SHORT = ("task.dimensions=[pitch_dynamics]", "batch.max_tokens=1500")


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    train = make_clips("train", 14, seconds=(0.5, 7.0, 1.3, 0.9, 3.0, 2.0, 0.6))

    def build(*overrides, name="run"):
        config = composed(*SETTINGS, small_judge, f"task.data.train={train}", *overrides)
        check(config)
        return RunContext(config, RunFolder(tmp_path / name))

    return build


def sizes():
    return [Size(100 + 37 * (at % 11), 10, 20 + at % 3) for at in range(60)]


def test_each_epoch_has_every_record_once_in_as_many_batches_within_the_budget():
    record_sizes, packs = sizes(), TokenBudgetBatches(sizes(), 1600, seed=3)
    for epoch in range(4):
        batches = packs.of(epoch)
        assert len(batches) == len(packs)
        assert sorted(itertools.chain(*batches)) == list(range(60))
        for batch in batches:
            padded_size = record_sizes[batch[0]]
            for at in batch[1:]:
                padded_size = padded_size.padded(record_sizes[at])
            assert len(batch) * padded_size.tokens <= 1600
    assert packs.of(1) == TokenBudgetBatches(sizes(), 1600, seed=3).of(1)
    contents = [{frozenset(batch) for batch in packs.of(epoch)} for epoch in (0, 1)]
    assert (
        contents[0] != contents[1]
    )  # the records of a batch change, not only the order of batches
    assert packs.of(0) != TokenBudgetBatches(sizes(), 1600, seed=4).of(0)


def test_a_record_larger_than_the_budget_is_an_error_with_its_size():
    with pytest.raises(BatchError, match="the largest needs 690 tokens"):
        TokenBudgetBatches(sizes(), 500, seed=0)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_the_batches_are_divided_over_the_processes(processes):
    order, packs = EpochOrder(60, seed=3), TokenBudgetBatches(sizes(), 1600, seed=3)
    order.set_epoch(2)
    ranks = [list(TokenBudgetSampler(packs, order, rank, processes)) for rank in range(processes)]
    assert {len(one) for one in ranks} == {len(TokenBudgetSampler(packs, order, 0, processes))}
    in_order = [batch for batches_of_step in zip(*ranks, strict=True) for batch in batches_of_step]
    assert [batch for batch in in_order if batch[0] >= 0] == packs.of(2)
    fillers = [batch for batch in in_order if batch[0] < 0]
    assert all(len(batch) == 1 and 0 <= record_of(batch[0]) < 60 for batch in fillers)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [(), ("batch.questions_per_clip=3",), ("batch.questions_per_clip=1",),
     ("batch.shared_prefix=false", "batch.questions_per_clip=2"),
     ("task.prompt_layout=criteria_first", "batch.max_tokens=9000"),
     ("task=role_all", "batch.max_tokens=2500")],
)  # fmt: skip
def test_batches_of_a_trainer_are_within_the_budget_including_padding(run_of, overrides):
    run = run_of(*overrides)
    trainer = make_trainer(run)
    loader = trainer.get_train_dataloader()
    loader.batch_sampler.set_epoch(1)
    batches = [one["batch"] for one in loader]
    assert (
        max(batch.inputs["input_ids"].numel() for batch in batches) <= run.config.batch.max_tokens
    )
    assert sum(batch.clips for batch in batches) == 14
    assert len(batches) < 14  # some batches have more than one clip


def with_captions(line):
    """A caption that is much longer than a criterion, but for one clip in three."""
    number = int(line["id"].partition("-")[2])
    caption = "A tired voice that grows warmer, with long pauses. " * (1 if number % 3 else 12)
    return {**line, "audio_info": {"audio_caption": caption}}


def with_long_names(line):
    """Names of raters as crowd-sourcing platforms give them."""
    names = [f"5f3c9a7e{rater:02d}1b2d4c6f8a9b0c" for rater in range(6)]
    annotations = {
        field: dict(zip(names, values, strict=True))
        for field, values in line["annotations"].items()
    }
    return {**line, "annotations": annotations}


def rated_in_part(line):
    """Every rater has rated two thirds of the fields."""
    annotations = {
        field: {name: value for at, (name, value) in enumerate(values.items()) if (at + place) % 3}
        for place, (field, values) in enumerate(with_long_names(line)["annotations"].items())
    }
    return {**line, "annotations": annotations}


def as_processed(line):
    text = "Describe the voice. " * (1 + int(line["id"].partition("-")[2]) % 4)
    content = [{"type": "audio", "audio_url": line["wav_path"]}, {"type": "text", "text": text}]
    prompt = [{"role": "user", "content": content}]
    return {"id": line["id"], "prompt": prompt, "solution": "<answer>a calm voice</answer>"}


CHANGED = [
    (("task=role",), dict),
    (("task=role_caption",), with_captions),
    (("task=role_variation",), dict),
    (("task=role_variation", "batch.questions_per_clip=1"), dict),
    (("task=role_variation_caption",), with_captions),
    (("task=role_all", "task.order=shuffled", "task.rater=consistent"), rated_in_part),
    (("task=role_all", "task.order=shuffled", "task.earlier=left_out"), dict),
    (("task=role", "task.listeners=embed"), with_long_names),
    (("task=role", "task.listeners=embed", "batch.shared_prefix=false"), with_long_names),
    (("task=processed",), as_processed),
]


@pytest.fixture
def trainer_of(run_of, tmp_path):
    """A trainer with a token budget, and with the records of the other tests in a changed form."""

    def build(overrides, changed):
        lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
        file = tmp_path / "changed.jsonl"
        file.write_text("".join(f"{json.dumps(changed(line))}\n" for line in lines))
        data = (f"task.data.train={file}", f"task.data.val={file}")
        return make_trainer(run_of(*overrides, *data, "batch.max_tokens=40000"))

    return build


@pytest.mark.parametrize(("overrides", "changed"), CHANGED)
def test_no_sample_of_a_records_questions_is_larger_than_its_size(trainer_of, overrides, changed):
    trainer = trainer_of(overrides, changed)
    sizes = [size.tokens for size in trainer.budget_batches.sizes]
    for number, size in list(enumerate(sizes))[:4]:
        rows = [{"record": number, "epoch": epoch} for epoch in range(12)]
        batches = [trainer.data_collator([row])["batch"] for row in rows]
        largest = max(batch.inputs["input_ids"].numel() for batch in batches)
        assert largest <= size <= 1.35 * largest


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_a_resumed_training_is_bit_identical(run_of):
    settings = (*SHORT, "trainer.args.save_strategy=steps", "trainer.args.save_steps=1",
                "trainer.args.save_total_limit=20", "trainer.args.gradient_accumulation_steps=2")  # fmt: skip
    whole = make_trainer(run_of(*settings))
    whole.train()
    steps = whole.state.global_step
    assert steps == 2 * -(-len(whole.budget_batches) // 2)
    step = steps // 2 - 1  # a step within the first of two epochs
    run = run_of(*settings)
    checkpoint = run.folder.checkpoints / f"checkpoint-{step}"
    again = make_trainer(run, checkpoint)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert losses(again) == losses(whole)
    for resumed, expected in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(resumed, expected)


@pytest.mark.slow
def test_the_logged_share_of_padding_is_smaller_with_batches_by_length(run_of):
    shares, planned = {}, {}
    for name, overrides in {
        "by length": SHORT,
        "fixed number": (SHORT[0], "batch.max_tokens=null", "batch.per_device=2"),
    }.items():
        run = run_of(*overrides, "trainer.args.num_train_epochs=1")
        planned[name] = make_plan(run).padding
        trainer = make_trainer(run)
        trainer.train()
        logged = [one for one in trainer.state.log_history if "padding_share" in one]
        assert all(0 <= one["padding_share"] < 1 for one in logged)
        shares[name] = sum(one["padding_share"] for one in logged) / len(logged)
    assert shares["by length"] < shares["fixed number"]
    # The plan estimates it for another order of the clips.
    assert planned["by length"] is None
    assert planned["fixed number"].share == pytest.approx(shares["fixed number"], abs=0.06)


def test_the_plan_advises_a_token_budget_where_it_works(run_of):
    fixed = (SHORT[0], "batch.max_tokens=null", "batch.per_device=4")
    [line] = [line for line in make_plan(run_of(*fixed)).lines() if line.startswith("  padding")]
    budget = int(re.search(r"batch\.max_tokens=(\d+) instead of a number of clips", line)[1])
    assert len(make_trainer(run_of(SHORT[0], f"batch.max_tokens={budget}")).budget_batches) < 14
    without = make_plan(run_of(*fixed, "peft=adalora"))
    assert without.padding.budget is None
    assert "max_tokens" not in "\n".join(without.lines())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("batch.global=8",), "batch.global=8 sets the number of clips"),
        (("batch.per_device=8",), "batch.per_device=8 sets the number of clips"),
        (("zero=zero2",), "DeepSpeed needs a fixed number of clips"),
        (("peft=adalora",), "set trainer.args.max_steps"),
        (("batch.max_tokens=0",), "batch.max_tokens=0 must be 1 or more"),
    ],
)
def test_incompatible_settings_are_refused(run_of, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_of(*overrides)


def test_a_token_budget_for_a_mixture_is_refused(composed):
    with pytest.raises(ConfigError, match="each epoch of a mixture has other records"):
        check(composed("task=mixed", "batch.max_tokens=4000"))


def test_a_budget_that_is_too_small_is_reported(run_of):
    with pytest.raises(
        ConfigError, match=r"batch\.max_tokens=300 is less than one clip's questions"
    ):
        make_trainer(run_of("batch.max_tokens=300"))


def test_the_plan_shows_the_token_budget(run_of):
    plan = make_plan(run_of("batch.max_tokens=1500"))
    assert any("at most 1,500 tokens" in one for one in plan.lines())
    assert plan.steps > 0
