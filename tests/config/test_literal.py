"""``${`` in a literal value is not interpolated: in folder names, published files and resolved settings."""

import functools
import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.api import published_yaml as published
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
def test_omegaconf_returns_a_literal_text_unchanged(text):
    values = {"text": text, "list": [text, {"inner": text}], "number": 1, "none": None}
    config = OmegaConf.create(literal(values))
    assert config.text == text
    assert OmegaConf.to_container(config, resolve=True) == values


@pytest.mark.parametrize("text", TEXTS)
def test_an_instantiated_object_gets_the_literal_text(text):
    node = {"_target_": "builtins.dict", "text": text, "inner": [{"text": text}]}
    assert instantiate(node, more=text) == {"text": text, "inner": [{"text": text}], "more": text}
    # A node of a configuration is resolved once.
    config = OmegaConf.create(
        {"a": literal(text), "node": {"_target_": "builtins.dict", "text": "${a}"}}
    )
    assert instantiate(config.node) == {"text": text}


def test_inner_nodes_are_instantiated_first_and_objects_are_passed_unchanged():
    argument = object()
    node = {
        "_target_": "builtins.dict",
        "inner": {"_target_": "builtins.list", "_args_": [[1, 2]]},
        "kept": {"_target_": "builtins.dict", "_partial_": True, "a": 1},
    }
    result = instantiate(node, argument=argument)
    assert result["inner"] == [1, 2]
    assert isinstance(result["kept"], functools.partial)
    assert result["kept"](b=2) == {"a": 1, "b": 2}
    assert result["argument"] is argument
    not_recursive = instantiate({**node, "_recursive_": False})
    assert not_recursive["inner"] == {"_target_": "builtins.list", "_args_": [[1, 2]]}


@pytest.mark.parametrize(
    ("node", "cause"),
    [
        ({"_target_": "builtins.int", "_args_": ["x"]}, ValueError),
        ({"_target_": "not_there.Thing"}, ImportError),
        ({"_target_": "os.system", "command": "true"}, type(None)),
        ({"_target_": "builtins.dict", "a": "???"}, type(None)),
    ],
)
def test_a_node_that_cannot_be_instantiated_raises_instantiation_exception(node, cause):
    with pytest.raises(InstantiationException) as raised:
        instantiate(node)
    assert isinstance(raised.value.__cause__, cause)


def test_a_resolved_copy_keeps_types_and_is_resolved_only_once(composed):
    OmegaConf.register_new_resolver("odd", lambda: "w ${oc.env:HOME} x", replace=True)
    config = composed("task.system='${odd:}'", r"checkpoint='\${a}'", "input='${task.system}'")
    resolved = resolve(config)
    assert resolved.task.system == resolved.input == "w ${oc.env:HOME} x"
    assert resolved.checkpoint == "${a}"
    assert resolved.stages == [Stage.train, Stage.evaluate]
    assert OmegaConf.to_container(resolved, resolve=True) == OmegaConf.to_container(
        config, resolve=True
    )
    assert config.task.system == "w ${oc.env:HOME} x"
    # The copy has no interpolation left.
    assert OmegaConf.to_container(resolved, resolve=False)["input"] == r"w \${oc.env:HOME} x"


@pytest.mark.parametrize("text", TEXTS[:-1])
def test_the_name_of_a_model_is_not_parsed_as_an_override(text):
    assert compose_model(text).model.path == text
    assert (
        compose("model=qwen2_audio", f"model.path={published.as_override(text)}").model.path == text
    )


@pytest.mark.parametrize(
    "text", ["über", "你好", "录音.wav", "é/ü.wav", "a٣", "a²", "ǅ", "naïve_x-1", "plain.wav"]
)
def test_a_text_with_letters_of_any_script_is_a_valid_override(text):
    parser = OverridesParser.create()
    value = parser.parse_override(f"k={published.as_override(text)}").value()
    assert getattr(value, "text", value) == text
    listed = parser.parse_override(f"k={published.as_override([text, 'a'])}").value()
    assert [getattr(each, "text", each) for each in listed] == [text, "a"]


def test_the_trainers_output_folder_is_in_the_run_folder(composed, make_clips, tmp_path):
    config = composed(
        "device=cpu",
        "logger=none",
        f"task.data.train={make_clips('train', 4)}",
        "trainer.args.max_steps=1",
    )
    folder = RunFolder(tmp_path / "w ${oc.env:HOME} x")
    assert RunContext(config, folder).args.output_dir == str(folder.checkpoints)


def test_texts_of_a_published_file_are_not_interpolated(tmp_path, monkeypatch, capsys):
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


def test_a_working_folder_that_hydra_would_interpolate_is_refused(tmp_path):
    name = "w ${oc.env:HOME} x"
    (tmp_path / name).mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "launch.py", "plan=true"], cwd=tmp_path / name, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"The working folder {tmp_path / name} has ${{ in its name" in done.stderr
    assert not [*tmp_path.rglob("*.yaml")]
