"""The id of a run depends on settings that change results and on the models, not on paths and launchers."""

import re
import shutil

import pytest
from omegaconf import OmegaConf

from dramaeval.config.run_id import run_id
from dramaeval.config.schema import PACKAGE

TINY = PACKAGE / "models" / "tiny"


@pytest.mark.slow
def test_paths_and_execution_settings_do_not_change_the_id(composed, tmp_path):
    (tmp_path / "train.jsonl").touch()
    first = run_id(composed())
    assert re.fullmatch("[0-9a-f]{8}", first)
    for overrides in (
        [f"task.data.train={tmp_path / 'train.jsonl'}"],
        ["task.data.train=relative/train.jsonl", "task.data.audio_root=clips"],
        ["plan=true", "plan_force=true", "launch.check=true", "launch.detach=true"],
        [f"model.path={shutil.copytree(TINY, tmp_path / 'copy')}"],
    ):
        assert run_id(composed(*overrides)) == first, overrides


@pytest.mark.parametrize("key", ["train", "val", "test", "sample", "audio_root"])
def test_the_paths_of_the_tasks_of_a_mixture_do_not_change_the_id(composed, key):
    values = ("null", "a.jsonl", "/x/a.jsonl", "b/a.jsonl")
    words = [f"task.tasks.role.data.{key}={value}" for value in values]
    assert len({run_id(composed("task=mixed", word)) for word in words}) == 1
    other = composed("task=mixed", "task.tasks.role.system=Listen.")
    assert run_id(other) != run_id(composed("task=mixed"))


def test_explicit_defaults_do_not_change_the_id(composed):
    explicit = ["task=role", "peft=lora", "trainer.args.learning_rate=0.002", "seed=0"]
    assert run_id(composed(*explicit)) == run_id(composed())


@pytest.mark.parametrize(
    "words",
    [["seed=1"], ["peft=none"], ["peft.r=4"], ["task=archetype"], ["model=qwen2_audio"],
     ["model=qwen2_audio", "model.path=org/one"]],
    ids=" ".join,
)  # fmt: skip
def test_other_settings_change_the_id(composed, words):
    assert run_id(composed(*words)) != run_id(composed())


def test_a_resolved_configuration_has_the_same_id(composed):
    config = composed()
    resolved = config.copy()
    OmegaConf.resolve(resolved)
    assert run_id(resolved) == run_id(config)


def test_two_models_in_folders_have_two_ids_and_a_moved_one_keeps_its_id(composed, tmp_path):
    config = composed()
    default = run_id(config)
    for name, layers in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"layers": {layers}}}')
    for node, key in ((config.model, "path"), (config, "checkpoint")):
        ids = []
        for name in "abc":
            node[key] = str(tmp_path / name)
            ids.append(run_id(config))
        assert ids[0] == ids[2] != ids[1], key
        assert default not in ids, key


@pytest.mark.parametrize("part", ["audio", "text"])
def test_the_parts_of_a_composed_judge_change_the_id(composed, tmp_path, part):
    config = composed("model=composed", "model.audio=a", "model.text=b")
    ids = []
    for name, layers in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"layers": {layers}}}')
        config.model[part] = str(tmp_path / name)
        ids.append(run_id(config))
    assert ids[0] == ids[2] != ids[1]
