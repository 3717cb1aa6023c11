"""GRPO supports every task, adapter and kind of judge that supervised fine-tuning supports."""

import json
import math

import numpy as np
import pytest
import torch
from clips import write_clips
from grpo_trainers import generate, loss_inputs

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.models.forward.answer_distributions import distributions
from dramaeval.models.inputs.collation import collate
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.stages.training_arguments import planned_steps

SAMPLE = PACKAGE / "data" / "sample"
QUICK = (
    "trainer=grpo", "stages=[train]", "device=cpu", "logger=none",
    "trainer.args.per_device_train_batch_size=2", "trainer.args.max_steps=1",
    "trainer.args.logging_steps=1", "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false", "trainer.args.warmup_steps=0",
    # This reward differs between the answers of a random judge; most others do not.
    "+trainer.rewards.mine={_target_: grpo_trainers.by_letters}",
)  # fmt: skip
SAMPLED = ("trainer.args.num_generations=3", "trainer.args.max_completion_length=12")
ENUMERATED = ("trainer.estimator=enumerated",)
TINY = f"model.path={PACKAGE / 'models' / 'tiny'}"
PAIRS = ("trainer.rewards.distance.weight=0", "trainer.rewards.pair_accuracy.weight=1")
CHOICES = ("trainer.rewards.distance.weight=0", "trainer.rewards.exact.weight=1")


def write_first_records(folder, task, count=6):
    """Write the first training records of the sample with absolute paths of clips."""
    lines = (SAMPLE / task / "train.jsonl").read_text("utf-8").splitlines()[:count]
    file = folder / f"{task}.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for line in lines:
            fields = json.loads(line)
            for key in {"wav_path", "audio_path"} & set(fields):
                fields[key] = str((SAMPLE / task / fields[key]).resolve())
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")
    return file


def write_processed_records(folder):
    write_clips(folder, "own", 4)
    file = folder / "processed.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for at in range(4):
            content = [
                {"type": "audio", "audio_url": f"own{at}.wav"}, {"type": "text", "text": "How warm?"}
            ]  # fmt: skip
            line = {
                "prompt": [{"role": "user", "content": content}],
                "solution": f"<answer>{at + 1}</answer>",
            }
            out.write(json.dumps(line) + "\n")
    return file


@pytest.fixture
def trainer_of(composed, tmp_path, small_judge):
    def build(*overrides):
        config = composed(*QUICK, small_judge, *overrides)
        check(config)
        run = RunContext(config, RunFolder(tmp_path / "run"))
        make_plan(run)
        return make_trainer(run)

    return build


def trained(trainer):
    before = {n: w.detach().clone() for n, w in trainer.model.named_parameters() if w.requires_grad}
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert math.isfinite(entry["grad_norm"])
    assert entry["grad_norm"] > 0
    assert abs(entry["kl"]) < 1e-6
    after = dict(trainer.model.named_parameters())
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    return entry


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "folder", "more"),
    [
        ("role_all", "realism", ("trainer.args.max_completion_length=128",)),
        # The tiny judge, because a random judge never ends a thought.
        ("role_caption", "realism", (TINY, "trainer.args.max_completion_length=96")),
        ("role_variation", "realism", ()),
        ("archetype", "archetype", ()),
        ("avqa", "avqa", (*CHOICES, "trainer.args.max_completion_length=24")),
        ("avqa", "avqa", (*CHOICES, *ENUMERATED)),
        ("pair", "archetype", PAIRS),
        ("pair_direct", "archetype", ()),
        ("pair_direct", "archetype", ENUMERATED),
        ("processed", None, ()),
        ("processed", None, ENUMERATED),
    ],
)
def test_grpo_trains_every_task(trainer_of, tmp_path, task, folder, more):
    file = write_first_records(tmp_path, folder) if folder else write_processed_records(tmp_path)
    sampled = () if ENUMERATED[0] in more else SAMPLED
    entry = trained(trainer_of(f"task={task}", f"task.data.train={file}", *sampled, *more))
    assert any(name.startswith("dimensions/") for name in entry)


@pytest.mark.slow
def test_a_mixture_is_trained_with_metrics_of_each_task(trainer_of, tmp_path):
    files = [
        f"task.tasks.{name}.data.train={write_first_records(tmp_path, folder, 2)}"
        for name, folder in (("role", "realism"), ("archetype", "archetype"), ("avqa", "avqa"))
    ]
    entry = trained(
        trainer_of("task=mixed", *files, *SAMPLED, *CHOICES, "trainer.args.per_device_train_batch_size=6")
    )  # fmt: skip
    assert {name.split("/")[1] for name in entry if name.startswith("dimensions/")} == {
        "role", "archetype", "avqa"
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["qlora", "dora"])
def test_qlora_and_dora_are_trained(trainer_of, tmp_path, peft):
    file = write_first_records(tmp_path, "realism")
    trained(trainer_of(f"task.data.train={file}", f"peft={peft}", *SAMPLED))


@pytest.mark.slow
def test_the_experiment_grpo_has_the_published_settings(composed, tmp_path, small_judge):
    config = composed(
        small_judge, "experiment=grpo", "stages=[train]", "device=cpu", "logger=none", "trainer.args.max_steps=2",
        "trainer.args.max_completion_length=8", f"task.data.train={write_first_records(tmp_path, 'realism')}",
        "trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false",
    )  # fmt: skip
    assert composed("experiment=grpo").trainer.args.max_steps == 1000
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    assert make_plan(run).step == "2 clips: 1 a pass, 2 accumulated, 1 process"
    args = run.args
    assert (args.num_generations, args.temperature, args.gradient_accumulation_steps) == (8, 1.0, 2)
    assert args.per_device_train_batch_size == 8  # TRL counts completions
    assert args.gradient_checkpointing
    trainer = make_trainer(run)
    assert trainer.rewards.weights == {"exact": 1.0, "format": 1.0}
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A small random language model with the tiny judge's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("language_model")
    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "models" / "tiny")
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=None, tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [SAMPLED, ENUMERATED])
def test_a_judge_without_audio_is_trained(trainer_of, tmp_path, language_model, estimator):
    file = write_first_records(tmp_path, "realism")
    trained(trainer_of(
        "model=causal_lm", f"model.path={language_model}", f"task.data.train={file}", *estimator,
    ))  # fmt: skip


@pytest.mark.slow
def test_both_clips_of_a_pair_are_two_groups_of_one_generation(trainer_of, tmp_path):
    file = write_first_records(tmp_path, "archetype", 24)
    trainer = trainer_of(
        "task=pair", f"task.data.train={file}", *SAMPLED, *PAIRS, "trainer.args.gradient_accumulation_steps=2",
        "trainer.args.num_train_epochs=1", "trainer.args.max_steps=-1", "cache.enabled=false",
    )  # fmt: skip
    # 2 pairs per pass and 2 passes per generation; each pair has 2 questions with 3 completions each.
    sizes = [len(numbers) for numbers in trainer.batch_sampler()]
    assert set(sizes) == {4}
    assert trainer.args.per_device_train_batch_size == 2 * 2 * 3
    rows = [{"record": number, "epoch": 0} for number in (3, 0, 1, 2)]
    passes = [trainer.next_inputs(rows) for _ in range(2)]
    assert [inputs["row"].tolist() for inputs in passes] == [[3] * 6 + [0] * 6, [1] * 6 + [2] * 6]
    assert passes[0]["place"].tolist() == [0, 0, 0, 1, 1, 1] * 2
    for inputs in passes:
        groups = trainer.groups.of_pass(inputs)
        for first, second in zip(groups[::6], groups[3::6], strict=True):
            record = first.record
            assert second.record is record
            assert first.dimensions == second.dimensions
            assert {first.question.pair.order, second.question.pair.order} == {"a", "b"}
            assert {first.question.clips, second.question.clips} == {
                (record.clip,),
                (record.clip_b,),
            }
            assert first.seed != second.seed
            for group in (first, second):
                (clip,) = group.encoded_record.clips
                alone = trainer.record_encoder.encode(record, [group.question])
                np.testing.assert_array_equal(clip.values, alone.clips[0].values)
                assert not group.encoded_record.others
    steps = planned_steps(len(trainer.train_records), trainer.args, 1, 2)
    assert steps == len(trainer.train_records) // 4


def test_enumerated_options_have_the_likelihoods_of_scoring(trainer_of, tmp_path):
    trainer = trainer_of(
        "task=avqa",
        f"task.data.train={write_first_records(tmp_path, 'avqa')}",
        *CHOICES,
        *ENUMERATED,
    )
    trainer.current_gradient_accumulation_steps = 1
    (inputs,) = generate(trainer, 0, 3)
    weighted_inputs = loss_inputs(trainer, inputs)
    groups = [trainer.groups(record, 0) for record in (0, 3)]
    batch = collate([group.encoded_record for group in groups], pad=trainer.record_encoder.pad)
    with torch.no_grad():
        expected = distributions(trainer.model(**batch.inputs).logits, batch)
    start = 0
    for group, probabilities in zip(groups, expected, strict=True):
        count = len(group.answers)
        weights = weighted_inputs["tool_mask"][start : start + count, 0]
        torch.testing.assert_close(weights / count, probabilities[:count], atol=1e-4, rtol=1e-3)
        start += count


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task=role_all", *ENUMERATED), "asks for all dimensions in one answer"),
        (("task=role_caption", *ENUMERATED), "begin with a thought"),
        (("task=avqa",), "options have no order, which distance needs"),
        (("task=pair",), "have votes and no ratings, which distance needs"),
        (("task=pair", *PAIRS, *ENUMERATED), "compares the sampled answers of a batch"),
        (("task=pair_direct", PAIRS[1]), "pair_direct has no such pairs"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(trainer_of, overrides, message):
    with pytest.raises(ConfigError, match=message):
        trainer_of(*overrides)
