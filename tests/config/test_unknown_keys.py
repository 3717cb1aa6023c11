"""Unknown keys of a command line are reported with the nearest valid key."""

import pytest

from dramaeval.config.unknown_keys import problems_of_words


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("pefft=lora", "peft"),
        ("+pefft=lora", "peft"),
        ("modle=tiny", "model"),
        ("stage=[train]", "stages"),
        ("evaluation.drawss=1", "evaluation.draws"),
        ("evaluaton.draws=1", "evaluation.draws"),
        ("logger.wandb.enabld=true", "logger.wandb.enabled"),
        ("task.data.trian=x", "task.data.train"),
        ("batch.globl=3", "batch.global"),
        ("launch.chek=true", "launch.check"),
        # The key exists in another node.
        ("draws=1", "evaluation.draws"),
        ("max_seconds=3", "task.data.max_seconds"),
        ("lr=1", "trainer.args.learning_rate"),
        ("learning_rat=1", "trainer.args.learning_rate"),
        ("epochs=1", "trainer.args.num_train_epochs"),
        ("rank=8", "peft.r"),
        (
            "early_stopping_patience=3",
            "callbacks=early_stopping callbacks.early_stopping.early_stopping_patience",
        ),
        ("taks/rubric=x", "task/rubric"),
        ("hydra.sweeep.dir=x", "hydra.sweep"),
        ("hydra.run.dirr=x", "hydra.run.dir"),
    ],
)
def test_the_nearest_valid_key_is_suggested(word, nearest):
    (problem,) = problems_of_words(["-m", word])
    key = word.lstrip("+").partition("=")[0]
    assert problem.startswith(key[: key.rfind(".")] if "hydra" in key else key)
    hint = problem.partition("Did you mean ")[2]
    assert hint.removesuffix("?").split(" or ")[0] == nearest


@pytest.mark.parametrize(
    "words",
    [
        ["task=role", "task/rubric=warmth", "peft=lora", "peft.r=4", "trainer.args.lr=1", "batch.global=3"],
        ["hydra/launcher=slurm", "hydra.launcher.nodes=2", "hydra.sweep.dir=x", "hydra.job.env_set.X=1"],
        ["search=lora", "experiment=grpo", "+experiment=grpo", "~peft", "+trainer.objectives.mine={}"],
        ["+task.label_policies.x.y=1", "task.data.train=x", "evaluation.metrics=[]", "model.own=1"],
        ["--config-dir", "mine", "group/of=mine"],
        ["-cn", "mine", "anything=1"],
        ["+logger.wandb.api_key=x", "password=x"],  # refused as secrets
        ["--multirun", "seed=0,1", "zero.zero_optimization.stage=2", "task@other=role"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_valid_keys_and_keys_that_only_a_class_knows_are_accepted(words):
    assert problems_of_words(words) == []


def test_all_unknown_keys_are_reported_with_the_keys_of_their_node():
    first, second = problems_of_words(["xyzzy=1", "export.foo=1", "seed=0"])
    assert first.startswith("xyzzy is not a setting.")
    assert "--help lists the settings" in first
    assert second == (
        "export.foo is not a setting; there are merge, push_to_hub, private, dry_run."
    )
