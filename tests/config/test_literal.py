"""``${`` in a value that is final stays as it is: in folder names, in files of others, after one resolution."""

import functools
import subprocess
import sys

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.config import published_yaml as published
from dramaeval.config.composition import compose, compose_model
from dramaeval.config.literal import instantiate, literal, resolve
from dramaeval.config.schema import Stage
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder

TEXTS = [
    "w ${oc.env:HOME} x",
    r"\${a}",
    r"\\${a}",
    r"a\b ${a}\\",
    "${",
    "${a}${b}",
    r"$\{a} it's \"quoted\"",
    "plain",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_omegaconf_gives_a_literal_text_back(text):
    values = {"text": text, "list": [text, {"inner": text}], "number": 1, "none": None}
    config = OmegaConf.create(literal(values))
    assert config.text == text
    assert OmegaConf.to_container(config, resolve=True) == values


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_made_gets_the_text(text):
    node = {"_target_": "builtins.dict", "text": text, "inner": [{"text": text}]}
    assert instantiate(node, more=text) == {"text": text, "inner": [{"text": text}], "more": text}
    # A node of a configuration is resolved once, as the user wrote it.
    config = OmegaConf.create(
        {"a": literal(text), "node": {"_target_": "builtins.dict", "text": "${a}"}}
    )
    assert instantiate(config.node) == {"text": text}


def test_nodes_are_made_innermost_first_and_objects_are_handed_over(tmp_path):
    thing = object()
    node = {
        "_target_": "builtins.dict",
        "inner": {"_target_": "builtins.list", "_args_": [[1, 2]]},
        "kept": {"_target_": "builtins.dict", "_partial_": True, "a": 1},
    }
    made = instantiate(node, thing=thing)
    assert made["inner"] == [1, 2]
    assert isinstance(made["kept"], functools.partial)
    assert made["kept"](b=2) == {"a": 1, "b": 2}
    assert made["thing"] is thing
    as_it_is = instantiate({**node, "_recursive_": False})
    assert as_it_is["inner"] == {"_target_": "builtins.list", "_args_": [[1, 2]]}


@pytest.mark.parametrize(
    ("node", "cause"),
    [
        ({"_target_": "builtins.int", "_args_": ["x"]}, ValueError),
        ({"_target_": "not_there.Thing"}, ImportError),
        ({"_target_": "os.system", "command": "true"}, type(None)),
        ({"_target_": "builtins.dict", "a": "???"}, type(None)),
    ],
)
def test_what_cannot_be_made_is_one_kind_of_error(node, cause):
    with pytest.raises(InstantiationException) as raised:
        instantiate(node)
    assert isinstance(raised.value.__cause__, cause)


def test_a_resolved_copy_keeps_types_and_resolves_nothing_twice(composed):
    OmegaConf.register_new_resolver("odd", lambda: "w ${oc.env:HOME} x", replace=True)
    config = composed("task.system='${odd:}'", r"checkpoint='\${a}'", "input='${task.system}'")
    settled = resolve(config)
    assert settled.task.system == settled.input == "w ${oc.env:HOME} x"
    assert settled.checkpoint == "${a}"
    assert settled.stages == [Stage.train, Stage.evaluate]
    assert OmegaConf.to_container(settled, resolve=True) == OmegaConf.to_container(
        config, resolve=True
    )
    assert config.task.system == "w ${oc.env:HOME} x"
    # Where it is handed to, nothing can be resolved any more.
    assert OmegaConf.to_container(settled, resolve=False)["input"] == r"w \${oc.env:HOME} x"


@pytest.mark.parametrize("text", TEXTS[:-1])
def test_the_name_of_a_model_is_no_syntax(text):
    assert compose_model(text).model.path == text
    assert compose("model=qwen2_audio", f"model.path={published.written(text)}").model.path == text


def test_the_trainers_folder_is_the_runs(composed, make_clips, tmp_path):
    config = composed(
        "device=cpu",
        "logger=none",
        f"task.data.train={make_clips('train', 4)}",
        "trainer.args.max_steps=1",
    )
    folder = RunFolder(tmp_path / "w ${oc.env:HOME} x")
    assert RunContext(config, folder).args.output_dir == str(folder.checkpoints)


def test_a_published_file_of_somebody_else_is_not_interpolated(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MY_SECRET", "s3cret-value")
    file = tmp_path / "sft.yaml"
    file.write_text(
        "training: {model_name_or_path: 'org/${oc.env:MY_SECRET}', learning_rate: 1e-4}\n"
    )
    assert published.main([str(file)]) == 0
    words = capsys.readouterr().out.splitlines()
    assert "s3cret-value" not in "".join(words)
    config = compose(*words)
    assert config.model.path == "org/${oc.env:MY_SECRET}"
    assert config.trainer.args.learning_rate == 1e-4


@pytest.mark.parametrize("name", ["w ${oc.env:HOME} x", "${not_there}"])
def test_a_working_folder_that_hydra_would_interpolate_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "launch.py", "plan=true"], cwd=tmp_path / name, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"The working folder {tmp_path / name} has ${{ in its name" in done.stderr
    assert not [*tmp_path.rglob("*.yaml")]
