"""Every argument of TRL's configurations is in one table: it has an effect, the run sets it, or it is refused."""

import re
from dataclasses import fields, make_dataclass

import pytest
import trl

from dramaeval.api import grpo_trainer, sft_trainer
from dramaeval.training import settings, trl_arguments

CLASSES = {False: trl.SFTConfig, True: trl.GRPOConfig}
#: Arguments that the oldest supported versions do not have; transformers 5.23 is the first with them.
NEWER = {"activation_checkpointing", "activation_checkpointing_kwargs"}
#: Overrides that are refused, each with a text of its message.
REFUSED = {
    "trainer.args.dataloader_drop_last=true": "a batch.global that divides",
    "trainer.args.completion_only_loss=true": "only answers are trained",
    "trainer.args.pad_to_multiple_of=8": "batch.max_tokens=NUMBER",
    "trainer.args.label_names=[x]": "task.labels",
    "trainer.args.assistant_only_loss=true": "only answers are trained",
    "trainer.args.padding_free=true": "batch.max_tokens=NUMBER",
    "trainer.args.chat_template_path=x.jinja": "chat_template.jinja",
    "trainer.args.push_to_hub=true": "export.push_to_hub=owner/name",
    "trainer.args.hub_model_id=me/judge": "export.push_to_hub=owner/name",
    "trainer.args.early_stopping_patience=3": "callbacks=early_stopping",
    "trainer.args.optim=galore_adamw": "needs the package galore_torch",
    "trainer.args.gradient_checkpointing_kwargs={selective:true}": "choose one of use_reentrant",
    "trainer.args.disable_tqdm=false": "is set by the run: leave it out; progress is logged as lines",
}


@pytest.mark.parametrize("by_reward", [False, True])
def test_every_argument_is_in_exactly_one_table(by_reward):
    tables = (
        trl_arguments.works(by_reward=by_reward),
        trl_arguments.set_by_run(by_reward=by_reward),
        trl_arguments.without_effect(by_reward=by_reward),
    )
    known = {field.name for field in fields(CLASSES[by_reward])}
    places = {name: sum(name in table for table in tables) for name in known.union(*tables)}
    assert {name for name in known if places[name] != 1} == set(), "sort these in trl_arguments"
    assert set(places) - known - NEWER == set(), "TRL no longer has these"


def test_a_refused_argument_names_the_setting_to_use_instead(problems_of):
    problems = problems_of(*REFUSED)
    for override, advice in REFUSED.items():
        key = override.partition("=")[0]
        (message,) = [text for text in problems if re.match(rf"{re.escape(key)}\b", text)]
        assert advice in message
    assert len(problems) == len(REFUSED)


def test_an_argument_of_a_newer_version_is_refused_by_name():
    newer = make_dataclass("Newer", [("learning_rate", float, 0.0), ("brand_new", int, 0)])
    known = {field.name: field for field in fields(newer)}
    problems = list(
        trl_arguments.sorting_problems(
            {"_target_": "x", "learning_rate": 1, "brand_new": 1}, known, by_reward=False
        )
    )
    assert len(problems) == 1
    assert problems[0].startswith("trainer.args.brand_new is an argument of a newer TRL")


def test_an_argument_without_the_argument_that_it_needs_is_refused(problems_of):
    problems = problems_of(
        "trainer=grpo", "trainer.args.vllm_mode=colocate", "trainer.args.entropy_target=1"
    )
    assert [re.findall(r"trainer\.args\.\w+(?:=true)?", text) for text in problems] == [
        ["trainer.args.vllm_mode", "trainer.args.use_vllm=true"],
        ["trainer.args.entropy_target", "trainer.args.use_adaptive_entropy=true"],
    ]


@pytest.mark.parametrize(
    ("prepare", "config", "values"),
    [
        (sft_trainer.prepare_arguments, trl.SFTConfig,
         {"dataloader_drop_last": True, "max_length": 512, "report_to": "wandb"}),
        (grpo_trainer.prepare_arguments, trl.GRPOConfig,
         {"dataloader_drop_last": True, "reward_weights": [2.0], "sync_ref_model": True}),
    ],
)  # fmt: skip
def test_arguments_from_python_are_refused_together(prepare, config, values, tmp_path):
    plain = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    prepare(config(**plain, learning_rate=1e-3, eval_delay=2))
    with pytest.raises(ValueError, match="without effect on a judge") as refused:
        prepare(config(**plain, **values))
    for name in values:
        assert f"{name}=" in str(refused.value)


@pytest.mark.parametrize(
    ("best", "greater", "message"),
    [
        ("loss", "true", "validation measures no loss"),
        ("null", "true", "validation measures no loss"),
        ("mse", "true", "a smaller value is better"),
        ("eval_cross_entropy", "null", "a smaller value is better"),
        ("pearson", "false", "a greater value is better"),
        ("cross_entropy", "false", None),
        ("pearson/pitch_dynamics", "null", None),
    ],
)
def test_the_metric_of_the_best_step_needs_its_direction(best, greater, message):
    values = {"null": None, "true": True, "false": False}
    args = {
        "load_best_model_at_end": True,
        "metric_for_best_model": values.get(best, best),
        "greater_is_better": values[greater],
    }
    problems = settings._best_problems(args)
    assert len(problems) == (message is not None)
    assert message is None or message in problems[0]


@pytest.mark.parametrize("scheduler", ["reduce_lr_on_plateau", "greedy"])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "lr_scheduler_kwargs.mode=max; the learning rate would decrease"),
        (("trainer.args.lr_scheduler_kwargs.mode=max",), None),
        (("trainer.args.lr_scheduler_kwargs.mode=min",), "a greater value is better"),
        (("trainer.args.metric_for_best_model=mse", "trainer.args.greater_is_better=false"), None),
        (
            (
                "trainer.args.metric_for_best_model=eval_mse",
                "trainer.args.greater_is_better=false",
                "trainer.args.lr_scheduler_kwargs.mode=max",
            ),
            "lr_scheduler_kwargs.mode=min",
        ),
        (
            ("trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false"),
            "set trainer.args.eval_strategy=steps",
        ),
        (("task.data.train=TRAIN",), "there is no val split"),
        (
            (
                "trainer.args.metric_for_best_model=null",
                "trainer.args.load_best_model_at_end=false",
                "trainer.args.lr_scheduler_kwargs.mode=max",
            ),
            "validation measures no loss",
        ),
        (("task=avqa",), "lr_scheduler_kwargs.mode=max"),
    ],
)
def test_a_scheduler_that_follows_validation_needs_its_direction(
    problems_of, make_clips, scheduler, overrides, message
):
    train = str(make_clips("train", 2))
    words = [word.replace("TRAIN", train) for word in overrides]
    problems = problems_of(f"trainer.args.lr_scheduler_type={scheduler}", "stages=[train]", *words)
    assert len(problems) == (message is not None)
    assert message is None or message in problems[0]
