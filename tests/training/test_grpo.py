"""GRPO: each completion hears its own clip; the reference; both estimators; figures; what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from clips import write_clips
from hydra.errors import ConfigCompositionException
from trained_adapter import teach
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.training.grpo.groups import completions_batch
from dramaeval.training.grpo.sampled_completions import sample

TINY = PACKAGE / "models" / "tiny"
QUICK = (
    "trainer=grpo",
    "device=cpu",
    "logger=none",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.num_generations=3",
    "trainer.args.max_completion_length=12",
    "trainer.args.max_steps=2",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.warmup_steps=0",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    train = write_clips(folder, "train", 8, seconds=(0.3, 1.7, 1.0, 2.9))
    return [f"task.data.train={train}", f"task.data.val={write_clips(folder, 'val', 4, seed=1)}"]


@pytest.fixture
def config_of(composed, files):
    return lambda *overrides: composed(*QUICK, *files, *overrides)


@pytest.fixture(scope="module")
def taught(files, tmp_path_factory):
    return f"checkpoint={teach(tmp_path_factory.mktemp('taught'), files)}"


@pytest.fixture
def trainer_of(config_of, tmp_path):
    def build(*overrides):
        config = config_of(*overrides)
        check(config)
        run = RunContext(config, RunFolder(tmp_path / "run"))
        run.plan()
        return make_trainer(run)

    return build


@pytest.fixture(scope="module")
def plain():
    return Qwen2AudioForConditionalGeneration.from_pretrained(TINY).eval()


def rows_of(trainer, *numbers):
    return [{"row": number, "epoch": 0} for number in numbers]


def logs(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def plain_log_p(plain, trainer, row, tokens, side="left", clip=None):
    """The reference: one completion alone, prepared and run by transformers itself, ``[tokens]``."""
    group = trainer.groups(row, 0)
    processor = Qwen2AudioProcessor.from_pretrained(TINY)
    processor.tokenizer.padding_side = side
    messages = group.question.messages
    made = processor(
        text=[processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)],
        audio=[decode(clip or group.record.clip, 16_000)],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    width = made["input_ids"].shape[1]
    made["input_ids"] = torch.cat([made["input_ids"], torch.tensor([tokens])], dim=1)
    made["attention_mask"] = torch.ones_like(made["input_ids"])
    with torch.no_grad():
        logits = plain(**made).logits[0, width - 1 : -1]
    log_p = (logits / trainer.temperature).log_softmax(-1)
    return log_p.gather(1, torch.tensor(tokens)[:, None])[:, 0]


def log_p_of(trainer, inputs):
    """Log-probabilities of a pass under the policy as it stands."""
    ids, mask = inputs["completion_ids"], inputs["completion_mask"]
    trainer._places = (inputs["row"].tolist(), inputs["epoch"].tolist())
    with torch.no_grad():
        return trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, ids.shape[1])[0]


def check_parity(plain, trainer, inputs, side="left"):
    """All log-probabilities of a pass against each completion alone."""
    ids, mask = inputs["completion_ids"], inputs["completion_mask"]
    trainer._places = (inputs["row"].tolist(), inputs["epoch"].tolist())
    with torch.no_grad():
        found, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, ids.shape[1], compute_entropy=True
        )
    for at, row in enumerate(inputs["row"].tolist()):
        length = int(mask[at].sum())
        tokens = ids[at, :length].tolist()
        expected = plain_log_p(plain, trainer, row, tokens, side)
        torch.testing.assert_close(found[at, :length], expected, atol=1e-4, rtol=0)
    assert (entropies[mask.bool()] > 0).any()
    return found


@pytest.mark.parametrize(
    ("generations", "shared", "side"), [(2, True, "left"), (8, True, "right"), (3, False, "right")]
)
def test_each_completion_hears_its_own_clip(plain, trainer_of, generations, shared, side):
    trainer = trainer_of(
        f"trainer.args.num_generations={generations}", f"batch.shared_prefix={shared}",
        "trainer.args.gradient_accumulation_steps=2", "trainer.args.num_iterations=2",
        "trainer.args.temperature=1.5",
    )  # fmt: skip
    trainer.record_encoder.encoder.tokenizer.padding_side = side
    order = [5, 0, 3, 6] if generations == 2 else [6, 3, 0, 5]
    passes = trainer._sample(rows_of(trainer, *order))
    assert [one["row"].tolist() for one in passes] == [
        [row for row in pair for _ in range(generations)] for pair in (order[:2], order[2:])
    ]
    for one in passes:
        found = check_parity(plain, trainer, one, side)
        # What TRL has noted of the old policy and of the reference, before any step.
        mask = one["completion_mask"].bool()
        for name in ("old_per_token_logps", "ref_per_token_logps"):
            torch.testing.assert_close(one[name][mask], found[mask], atol=1e-5, rtol=0)


def test_another_clip_moves_the_numbers(plain, trainer_of):
    trainer = trainer_of()
    (one,) = trainer._sample(rows_of(trainer, 1, 3))
    tokens = one["completion_ids"][0, : int(one["completion_mask"][0].sum())].tolist()
    own = plain_log_p(plain, trainer, 1, tokens)
    other = plain_log_p(plain, trainer, 1, tokens, clip=trainer.groups(3, 0).record.clip)
    assert (own - other).abs().max() > 1e-2
    # The same through the trainer: clips shuffled between the prompts of the batch.
    groups = [trainer.groups(1, 0), trainer.groups(7, 0)]  # clips of one length
    swapped = [
        type(a)(
            a.record,
            a.question,
            a.targets,
            type(a.encoded_record)(b.encoded_record.clips, a.encoded_record.questions),
            a.seed,
        )
        for a, b in zip(groups, reversed(groups), strict=True)
    ]
    logits = []
    for some in (groups, swapped):
        batch = completions_batch([(one, [tokens]) for one in some], pad=0, shared_prefix=True)
        with torch.no_grad():
            logits.append(trainer.model(**batch.inputs).logits)
    assert (logits[0] - logits[1]).abs().max() > 1e-2


@pytest.mark.parametrize(("overrides", "times"), [((), 1), (("batch.shared_prefix=false",), 3 * 3)])
def test_a_clip_is_encoded_once_a_step(trainer_of, monkeypatch, overrides, times):
    trainer = trainer_of("trainer.args.max_steps=1", "cache.enabled=false", *overrides)
    judge, encoded = trainer.model.get_base_model(), []
    embed = judge.embed_audio

    def counted(features, frames):
        encoded.append(len(features))
        return embed(features, frames)

    monkeypatch.setattr(judge, "embed_audio", counted)
    trainer.train()
    # Two clips with three completions each. Without shared prefixes each completion has a clip of its own, in
    # writing, for the reference and for the policy.
    assert sum(encoded) == 2 * times


def test_clips_that_were_kept_train_the_same(trainer_of, tmp_path):
    settings = ("trainer.args.max_steps=2", f"cache.folder={tmp_path / 'cache'}")
    trainers = [trainer_of(*settings) for _ in range(2)]
    for trainer in trainers:
        trainer.train()
    hearings = [one.model.get_base_model().encoding_cache for one in trainers]
    assert [one.encoded > 0 for one in hearings] == [True, False]
    for one, other in zip(*(t.model.parameters() for t in trainers), strict=True):
        assert torch.equal(one, other)


def test_branches_and_rows_have_the_same_gradient(trainer_of):
    gradients, losses = [], []
    for shared in (True, False):
        trainer = trainer_of(
            f"batch.shared_prefix={shared}", "peft=none", "model.train_projector=true"
        )
        trainer.current_gradient_accumulation_steps = 1
        (inputs,) = trainer._sample(rows_of(trainer, 0, 1))
        inputs["advantages"] = torch.linspace(-1, 1, len(inputs["advantages"]))
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            torch.cat([w.grad.flatten() for w in trainer.model.parameters() if w.grad is not None])
        )
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    difference = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert gradients[0].norm() > 0
    assert difference < 1e-3


@pytest.mark.parametrize("peft", ["lora", "ia3", "adalora", "prompt", "prefix", "none"])
def test_the_policy_begins_as_its_reference_and_leaves_it(trainer_of, peft):
    # The untaught judge's answers seldom earn anything but for their form.
    trainer = trainer_of(
        f"peft={peft}", "trainer.args.max_steps=3", "trainer.args.learning_rate=0.02",
        "trainer.rewards.distance.weight=0", "trainer.rewards.length.weight=1",
        "trainer.rewards.length.free=5",
    )  # fmt: skip
    assert trainer.reference.off == (peft in ("lora", "ia3", "adalora"))
    kept = {name: value.clone() for name, value in trainer.reference.kept.items()}
    trainer.train()
    kl = logs(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert max(kl[1:]) > 1e-6
    assert all(torch.equal(value, trainer.reference.kept[name]) for name, value in kept.items())


def test_an_adapter_to_go_on_from_is_the_reference(trainer_of, taught):
    trainer = trainer_of(taught, "trainer.args.learning_rate=0.02")
    assert not trainer.reference.off
    (inputs,) = trainer._sample(rows_of(trainer, 0, 1))
    found = log_p_of(trainer, inputs)
    with trainer.model.disable_adapter():
        base = log_p_of(trainer, inputs)
    torch.testing.assert_close(inputs["ref_per_token_logps"], found, atol=5e-6, rtol=0)
    assert (base - found).abs().max() > 1e-3
    trainer.train()
    kl = logs(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert kl[1] > 1e-6


def test_completions_end_at_the_end_of_the_turn(trainer_of):
    trainer = trainer_of("trainer.args.mask_truncated_completions=true")
    end = trainer.record_encoder.encoder.tokenise("<|im_end|>")[-1]
    (inputs,) = trainer._sample(rows_of(trainer, 0, 1))
    ended = 0
    for at, tokens in enumerate(inputs["completion_ids"].tolist()):
        length = int(inputs["completion_mask"][at].sum())
        if length:
            assert tokens[length - 1] in trainer.eos_token_ids
            assert not set(tokens[: length - 1]) & set(trainer.eos_token_ids)
            ended += tokens[length - 1] == end
    unfinished = trainer._metrics["train"]["completions/clipped_ratio"][-1]
    masked = (inputs["completion_mask"].sum(-1) == 0).float().mean()
    assert unfinished == pytest.approx(float(masked))
    assert ended


def test_a_generation_depends_on_record_and_epoch_alone(trainer_of):
    trainer = trainer_of()
    whole = trainer._sample(rows_of(trainer, 4, 2))[0]
    turned = trainer._sample(rows_of(trainer, 2, 4))[0]
    assert whole["completion_ids"][:3].tolist() == turned["completion_ids"][3:].tolist()
    later = trainer._sample([{"row": 4, "epoch": 1}, {"row": 2, "epoch": 1}])[0]
    assert later["row"].tolist() == whole["row"].tolist()
    assert later["epoch"].tolist() == [1] * 6


def test_the_plain_path_draws_the_same(trainer_of):
    drawn = []
    for shared in (True, False):
        trainer = trainer_of(f"batch.shared_prefix={shared}")
        drawn.append(
            trainer._sample(
                rows_of(
                    trainer,
                    0,
                    1,
                )
            )[0]["completion_ids"].tolist()
        )
    assert drawn[0] == drawn[1]


# Enumerated


def gradient_of(trainer, inputs):
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, inputs).backward()
    return torch.cat([w.grad.flatten() for w in trainer.model.parameters() if w.grad is not None])


def test_enumerated_is_what_sampled_is_in_expectation(trainer_of, taught):
    """2,880 sampled completions of one question, in groups of four, against its five answers.

    Without scaling, a group's own mean as baseline makes the sampled gradient (G − 1)/G of the enumerated one:
    E[Σ_i (r_i − r̄) ∇log p_i] / G = (G − 1)/G · Cov(r, ∇log p). (With scaling by a group's own spread there is
    no common factor.) The loss is linear in the advantages at the policy that was sampled, so completions that
    were drawn several times go through it once, with the sum of their advantages.
    """
    settings = (
        "trainer.args.scale_rewards=none", "trainer.args.loss_type=dr_grpo", "trainer.args.beta=0",
        "trainer.args.per_device_train_batch_size=1", "task.dimensions=[pitch_dynamics]", taught,
    )  # fmt: skip
    exact = trainer_of(
        *settings, "trainer.args.num_generations=null", "trainer.estimator=enumerated"
    )
    exact.current_gradient_accumulation_steps = 1
    (inputs,) = exact._enumerate(rows_of(exact, 1))
    enumerated = gradient_of(exact, inputs)
    # Nearly everything it writes is one of the five.
    assert exact._metrics["train"]["outside"][0] < 0.01

    size, at_once, turns = 4, 240, 12
    sampled = trainer_of(*settings, f"trainer.args.num_generations={size}")
    sampled.current_gradient_accumulation_steps = 1
    group = sampled.groups(1, 0)
    advantages, drawn = {}, 0
    for seed in range(turns):
        with torch.no_grad():
            going = sampled.begin(sampled.model, [group], at_once)
            (tokens,) = sample(going, [group.prompt], [seed], sampled.sampling())
        # What is no answer of the scale counts for nothing in the enumerated estimator.
        tokens = [one for one in tokens if tuple(one) in group.answers]
        tokens = tokens[: len(tokens) // size * size]
        read = [sampled._completion(0, [group], one) for one in tokens]
        rewards = (sampled._values(read) @ sampled.reward_weights).view(-1, size)
        away = (rewards - rewards.mean(dim=1, keepdim=True)).flatten()
        for one, advantage in zip(tokens, away.tolist(), strict=True):
            advantages[tuple(one)] = advantages.get(tuple(one), 0.0) + advantage
        drawn += len(tokens)
    assert drawn > 2700
    assert len(advantages) == 5
    kinds = [torch.tensor(one) for one in advantages]
    ids = torch.nn.utils.rnn.pad_sequence(kinds, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(one) for one in kinds], batch_first=True
    )
    # TRL divides by the number of rows.
    mean = torch.tensor(list(advantages.values())) * len(kinds) / drawn
    found = gradient_of(
        sampled,
        {
            "row": torch.full((len(kinds),), 1), "epoch": torch.zeros(len(kinds), dtype=torch.long),
            "prompt_ids": ids[:, :0], "prompt_mask": mask[:, :0],
            "completion_ids": ids, "completion_mask": mask, "advantages": mean,
            "num_items_in_batch": mask.sum(),
        },
    )  # fmt: skip
    expected = enumerated * (size - 1) / size
    difference = (found - expected).norm() / expected.norm()
    print("difference", difference, drawn, torch.cosine_similarity(found, expected, dim=0))
    assert difference < 0.1
    assert torch.cosine_similarity(found, expected, dim=0) > 0.995


def test_enumerated_answers_have_exact_probabilities(plain, trainer_of):
    trainer = trainer_of(
        "trainer.estimator=enumerated", "trainer.args.num_generations=null",
        "trainer.args.gradient_accumulation_steps=2", "trainer.args.num_iterations=2",
        "trainer.args.scale_rewards=group",
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 2
    passes = trainer._enumerate(rows_of(trainer, 0, 1, 2, 3))
    assert len(passes) == 2
    for one in passes:
        assert len(one["row"]) == 10
        check_parity(plain, trainer, one)
        weighed = trainer._weighed(trainer.model, one)
        trainer._read_already = None
        p = torch.stack(
            [
                plain_log_p(plain, trainer, row, tokens[: int(mask.sum())]).sum()
                for row, tokens, mask in zip(
                    one["row"].tolist(), one["completion_ids"].tolist(), one["completion_mask"],
                    strict=True,
                )
            ]
        ).view(2, 5).softmax(dim=-1)  # fmt: skip
        torch.testing.assert_close(weighed["tool_mask"].view(2, 5), p * 5, atol=1e-3, rtol=1e-3)
        rewards = (one["rewards"] @ trainer.reward_weights).view(2, 5)
        mean = (p * rewards).sum(-1, keepdim=True)
        spread = (p * (rewards - mean) ** 2).sum(-1, keepdim=True).sqrt()
        expected = (rewards - mean) / (spread + 1e-4)
        torch.testing.assert_close(weighed["advantages"].view(2, 5), expected, atol=2e-3, rtol=2e-3)


def test_both_estimators_raise_the_reward(trainer_of, taught):
    for settings in (
        ("trainer.estimator=enumerated", "trainer.args.num_generations=null"),
        ("trainer.args.num_generations=8",),
    ):
        trainer = trainer_of(
            *settings, taught, "trainer.args.max_steps=12", "trainer.args.per_device_train_batch_size=4",
            "trainer.args.learning_rate=2e-3", "trainer.args.beta=0", "task.dimensions=[pitch_dynamics]",
        )  # fmt: skip
        trainer.train()
        reward = logs(trainer, "reward")
        assert np.mean(reward[-4:]) > np.mean(reward[:4]) + 0.02


@pytest.mark.parametrize(
    "loss", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
)
def test_every_loss_of_trl_trains(trainer_of, loss):
    trainer = trainer_of(f"trainer.args.loss_type={loss}", "trainer.args.max_steps=1")
    trainer.train()
    assert math.isfinite(logs(trainer, "grad_norm")[0])


# What is logged


def test_figures_by_dimension(trainer_of, taught):
    trainer = trainer_of(taught, "trainer.args.max_steps=4", "trainer.args.logging_steps=4")
    trainer.train()
    (entry,) = [one for one in trainer.state.log_history if "loss" in one]
    for key, name in itertools.product(
        ("pitch_dynamics", "trait_embodiment"),
        ("reward", "reward_spread", "no_spread", "length", "kl", "entropy", "clipped"),
    ):
        assert math.isfinite(entry[f"dimensions/{key}/{name}"]), (key, name)
    assert any(name.endswith("/pearson") for name in entry)
    for name in (
        "rewards/distance/mean",
        "rewards/format/mean",
        "completions/clipped_ratio",
        "kl",
        "entropy",
    ):
        assert math.isfinite(entry[name])
    assert entry["questions_per_second"] > 0


# Stops


def test_a_prompt_too_long_names_its_record(config_of, tmp_path):
    config = config_of()
    run = RunContext(config, RunFolder(tmp_path / "run"))
    long = run.splits["train"][3]
    long.fields["local_scene"] = "word " * 9000
    with pytest.raises(BadRecordsError, match="never cut") as refused:
        run.plan()
    assert [one.id for one in refused.value.problems] == [long.id]
    assert run._model is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.estimator=enumerate"], "trainer.estimator=enumerate is not known"),
        (["trainer.args.loss_typ=grpo"], "trainer.args.loss_typ is not an argument of trl.GRPOConfig"),
        (["trainer.args.reward_weights=[1]"], r"use trainer.rewards.NAME.weight"),
        (["trainer.rewards.distance.weight=0", "trainer.rewards.format.weight=0"], "no reward with a weight"),
        (["+trainer.rewards.distance.square=true"], "trainer.rewards.distance.square is not an argument"),
        (["trainer.args.num_generations=1"], "num_generations=1 must be 2 or more"),
        (["batch.questions_per_clip=3"], "GRPO asks one question a clip"),
        (["batch.max_tokens=9000", "trainer.args.per_device_train_batch_size=null"], "same number of clips"),
        (["model.head=regression"], "writes no answers"),
        (["trainer.args.use_vllm=true"], "without hearing"),
        (["trainer.estimator=enumerated"], "num_generations=3 is about samples"),
        (["trainer.estimator=enumerated", "trainer.args.num_generations=null", "trainer.args.loss_type=grpo"],
         "whatever its probability"),
        (["trainer.estimator=enumerated", "trainer.args.num_generations=null",
          "trainer.rewards.correlation.weight=1"], "takes no samples"),
        (["trainer.objective=soft_ce"], "objective"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(config_of, overrides, message):
    with pytest.raises((ConfigError, ConfigCompositionException), match=message):
        check(config_of(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.args.max_completion_length=3"], "is shorter than an answer"),
        (
            ["batch.per_device=9", "trainer.args.per_device_train_batch_size=null"],
            "there are 8 to train on",
        ),
    ],
)
def test_what_only_data_can_tell_is_refused_before_weights(config_of, tmp_path, overrides, message):
    config = config_of(*overrides)
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    with pytest.raises(ConfigError, match=message):
        run.plan()
    assert run._model is None
