"""The short id: of what is computed, not of where and how."""

import re

import pytest
from omegaconf import OmegaConf

from dramaeval.config.run_id import run_id


def test_it_is_the_same_anywhere(composed, tmp_path):
    (tmp_path / "train.jsonl").touch()
    first = run_id(composed())
    assert re.fullmatch("[0-9a-f]{8}", first)
    for elsewhere in (
        [f"task.data.train={tmp_path / 'train.jsonl'}"],
        ["task.data.train=relative/train.jsonl", "task.data.audio_root=clips"],
        [f"checkpoint={tmp_path}"],
        ["plan=true", "plan_force=true", "launch.check=true", "launch.detach=true"],
        [f"model.path={tmp_path}"],  # it is a folder by default too
    ):
        assert run_id(composed(*elsewhere)) == first, elsewhere


def test_the_launcher_and_the_way_there_do_not_count(composed):
    explicit = ["task=role", "peft=lora", "trainer.args.learning_rate=0.002", "seed=0"]
    assert run_id(composed(*explicit)) == run_id(composed())


@pytest.mark.parametrize(
    "words",
    [["seed=1"], ["peft=none"], ["peft.r=4"], ["task=archetype"], ["model=qwen2_audio"],
     ["model=qwen2_audio", "model.path=org/one"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_computed_does(composed, words):
    assert run_id(composed(*words)) != run_id(composed())


def test_resolved_and_not_resolved_are_alike(composed):
    config = composed()
    resolved = config.copy()
    OmegaConf.resolve(resolved)
    assert run_id(resolved) == run_id(config)
