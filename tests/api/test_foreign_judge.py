"""Run folders from other people: code that they name runs only if the caller allows it."""

import json
import shutil

import pytest
import yaml
from omegaconf import OmegaConf

from dramaeval import Judge
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.config.trust import TRUSTED
from dramaeval.models.errors import ModelError
from dramaeval.stages.run_folder import RunFolder

TINY = PACKAGE / "models" / "tiny"


@pytest.fixture
def write_run(composed, tmp_path):
    """A function that writes the folder of a run with the tiny judge, with some settings replaced."""

    def write(*overrides, **changes):
        folder = RunFolder(tmp_path / "run")
        folder.open(composed("device=cpu", "stages=[evaluate]", *overrides))
        values = yaml.safe_load(folder.config.read_text())
        for key, value in changes.items():
            *parents, last = key.split("__")
            node = values
            for name in parents:
                node = node[name]
            node[last] = value
        folder.config.write_text(yaml.safe_dump(values))
        return folder.path

    return write


@pytest.fixture
def marker(tmp_path):
    """A file that must not be created, and a config node that would create it by a shell command."""
    file = tmp_path / "created"
    return file, {"_target_": "torch.utils.collect_env.run", "command": f"touch '{file}'"}


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ((), "model"),
        ((), "model__architecture"),
        ((), "task"),
        ((), "task__rubric"),
        ((), "task__phrasings"),
        ((), "quantization"),
        (("task=mixed",), "task__tasks__role__rubric"),
    ],
)
def test_a_function_that_a_folder_names_does_not_run(write_run, marker, overrides, key):
    file, node = marker
    folder = write_run(*overrides, **{key: node})
    with pytest.raises(ConfigError) as raised:
        Judge.load(folder, device="cpu").task("role")
    dotted = key.replace("__", ".") + "._target_"
    assert f"{folder / 'config.yaml'}: {dotted}=torch.utils.collect_env.run" in str(raised.value)
    assert 'trust=["torch.utils.collect_env"]' in str(raised.value)
    assert not file.exists()


def test_a_target_that_is_not_text_is_refused(write_run, marker):
    folder = write_run(model=marker[1] | {"_target_": {"_target_": "os.getcwd"}})
    with pytest.raises(ConfigError, match="2 problems"):
        Judge.load(folder, device="cpu")


def test_all_untrusted_names_are_listed_and_trust_matches_full_names(write_run):
    node = {"_target_": "judges.Mine"}
    folder = write_run(
        task__rubric={**node}, task__phrasings={"_target_": "judges_of_others.Theirs"}
    )
    with pytest.raises(ConfigError, match="2 problems"):
        Judge.load(folder, device="cpu")
    with pytest.raises(ConfigError, match=r"1 problem:\n.*task.phrasings._target_"):
        Judge.load(folder, device="cpu", trust="judges")


def test_every_class_of_the_shipped_configs_is_trusted():
    shipped = {
        node["_target_"]
        for group in ("model", "task")
        for file in (PACKAGE.parent / "configs" / group).glob("*.yaml")
        if "_target_" in (node := yaml.safe_load(file.read_text()))
    }
    assert len(shipped) > 10
    assert shipped <= TRUSTED


def test_a_custom_task_is_built_with_trust(write_run, tmp_path, monkeypatch):
    (tmp_path / "own_judge.py").write_text(
        "from dramaeval.tasks.task import Task\n\nclass Mine(Task):\n    mine = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = write_run(task___target_="own_judge.Mine")
    with pytest.raises(ConfigError, match="own_judge"):
        Judge.load(folder, device="cpu")
    assert Judge.load(folder, device="cpu", trust=["own_judge"]).task("role").mine


def test_settings_of_training_are_neither_imported_nor_checked(write_run, marker):
    file, node = marker
    folder = write_run(
        task__label_policies={"kind": node},
        task__labels="kind",
        trainer__objectives={"own": node},
        evaluation__metrics=[node],
        peft=node,
    )
    judge = Judge.load(folder, device="cpu")
    assert judge.task("role").dimensions
    assert not file.exists()
    assert judge.config.task.labels == "kind"


def test_interpolations_of_a_folder_are_text(write_run, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "s3cret-value")
    called = []
    OmegaConf.register_new_resolver("called", lambda: called.append(1) or "x", replace=True)
    system = r"Hello ${oc.env:MY_SECRET} \${called:} ${task.name}"
    folder = write_run(
        task__system=system, task__context="${called:} {transcript}", seed="${oc.env:NOT_THERE}"
    )
    task = Judge.load(folder, device="cpu").task("role")
    assert task.system == system
    assert task.context == "${called:} {transcript}"
    assert not called


@pytest.mark.slow
def test_the_name_of_a_model_is_not_interpolated(write_run, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_SECRET", "s3cret-value")
    folder = tmp_path / "w ${oc.env:MY_SECRET} x"
    shutil.copytree(TINY, folder)
    assert Judge.load(folder, device="cpu").family.path == str(folder)
    again = write_run(model__path=str(folder))
    assert Judge.load(again, device="cpu").family.path == str(folder)
    with pytest.raises(ModelError) as raised:
        Judge.load("./${oc.env:MY_SECRET}", device="cpu")
    assert "s3cret-value" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model__attention": "evil-org/kernel"}, "model.attention=evil-org/kernel is not known"),
        ({"model__dtype": "os"}, "model.dtype=os is not known"),
        ({"model__hidden": 1}, "model.hidden is not an argument"),
        ({"model": ["a"]}, "is not a mapping"),
    ],
)
def test_invalid_settings_are_refused(write_run, change, message):
    with pytest.raises(ConfigError) as raised:
        Judge.load(write_run(**change), device="cpu")
    assert message in str(raised.value)


@pytest.mark.parametrize("text", ["model: [", "model: !!python/object/apply:os.getcwd []"])
def test_a_config_that_is_not_plain_yaml_is_refused(write_run, text):
    folder = write_run()
    (folder / "config.yaml").write_text(text)
    with pytest.raises(ModelError, match=r"config\.yaml is not YAML"):
        Judge.load(folder, device="cpu")


def write_model_with_code(folder, name, **values):
    """Copies the tiny judge and adds code that the file ``name`` refers to; returns the file that the code creates."""
    shutil.copytree(TINY, folder)
    (folder / "evil.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(folder / 'created')!r}).touch()\n"
        "from transformers import Qwen2AudioConfig, Qwen2AudioProcessor\n"
        "class Config(Qwen2AudioConfig):\n    pass\n"
        "class Processor(Qwen2AudioProcessor):\n    pass\n"
    )
    file = folder / name
    kept = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**kept, **values}))
    return folder / "created"


PROCESSOR = {"auto_map": {"AutoProcessor": "evil.Processor"}, "processor_class": "Processor"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Config"}}),
        ("config.json", {"attn_implementation": "evil-org/kernel"}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Config", "evil.Config"]}}),
        ("processor_config.json", PROCESSOR),
        ("preprocessor_config.json", {"auto_map": {"AutoFeatureExtractor": "evil.Config"}}),
        ("generation_config.json", {"custom_generate": "evil"}),
    ],
)
def test_code_in_the_folder_of_the_weights_does_not_run(tmp_path, name, values):
    created = write_model_with_code(tmp_path / "model", name, **values)
    try:
        judge = Judge.load(tmp_path / "model", device="cpu")
    except ModelError as error:
        assert "trust_remote_code" in str(error)  # noqa: PT017 - most files load without the code
    else:
        judge.family.skeleton()
    assert not created.exists()


def test_remote_code_runs_only_with_trust_remote_code(write_run, tmp_path):
    created = write_model_with_code(tmp_path / "model", "processor_config.json", **PROCESSOR)
    folder = write_run(model__path=str(tmp_path / "model"), model__trust_remote_code=True)
    with pytest.raises(ConfigError, match=r"config.yaml: model.trust_remote_code=true: .*=True"):
        Judge.load(folder, device="cpu")
    assert not created.exists()
    judge = Judge.load(folder, device="cpu", trust_remote_code=True)
    assert created.exists()
    assert type(judge.processor).__name__ == "Processor"


def test_the_offload_folder_comes_from_the_caller(write_run, tmp_path):
    judge = Judge.load(write_run(model__offload_folder=str(tmp_path / "there")), device="cpu")
    assert judge.family.offload_folder is None
    judge = Judge.load(tmp_path / "run", device="cpu", offload_folder=tmp_path / "here")
    assert judge.family.offload_folder == str(tmp_path / "here")
