"""Environment variables that libraries read: each is in the table, and none changes a run without a message."""

from __future__ import annotations

import ast
import gc
import io
import json
import os
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dramaeval import startup
from dramaeval.config.environment_variables import TABLE, Policy, row_of
from dramaeval.stages import environment, train
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder

#: Libraries whose variables have to be in the table; torchrun is in torch.distributed.
LIBRARIES = (
    "accelerate", "deepspeed", "transformers", "trl", "peft", "huggingface_hub", "torch/distributed",
    "submitit",
)  # fmt: skip
#: Parts of libraries that a run never uses: tests, command lines, builds, other launchers.
UNUSED_PARTS = {
    "test_utils", "testing_utils.py", "commands", "cli", "launcher", "launch.py", "launchers.py", "tests",
    "autotuning", "op_builder", "exporters", "scripts", "experimental", "_sandbox.py", "env_report.py",
}  # fmt: skip
#: Functions whose first argument is the name of a variable, or a list of names.
READERS = {
    "getenv", "parse_flag_from_env", "parse_choice_from_env", "get_int_from_env", "str_to_bool",
    "is_env_variable_true", "is_env_variable_false", "get_env",
}  # fmt: skip
#: Examples of names that libraries compose at run time.
COMPOSED_NAMES = (
    "ACCELERATE_FP8_BACKEND", "ACCELERATE_DYNAMO_MODE", "FSDP_VERSION", "MEGATRON_LM_TP_DEGREE",
    "CROSS_SIZE", "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_LOCALID", "SUBMITIT_EXECUTOR",
)  # fmt: skip

HOSTILE = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_CPU": "false",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "3",
    "ACCELERATE_GRADIENT_CLIPPING": "0.001",
    "ACCELERATE_DYNAMO_BACKEND": "eager",
    "ACCELERATE_BYPASS_DEVICE_MAP": "true",
    "ACCELERATE_USE_FSDP": "false",
    "FSDP_VERSION": "2",
    "PARALLELISM_CONFIG_TP_SIZE": "2",
    "DS_ACCELERATOR": "cuda",
    "LOCAL_SIZE": "7",
    "PMI_SIZE": "1",
    "TORCHELASTIC_RUN_ID": "left-over",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Start with empty records of `startup`, and restore the environment afterwards."""
    kept = dict(os.environ)
    monkeypatch.setattr(startup, "_removed", {})
    monkeypatch.setattr(startup, "_recorded", {})
    monkeypatch.setattr(startup, "_set", dict(startup._set))
    yield
    os.environ.clear()
    os.environ.update(kept)


def _names(node: ast.expr) -> list[str]:
    parts = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def _last(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _read_in(file: Path) -> set[str]:
    """The variables that a source file reads by a literal name."""
    source = file.read_bytes()
    if not any(
        word.encode() in source for word in ("environ[", "environ.", "os.environ", *READERS)
    ):
        return set()
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            method_of = _last(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if _last(node.func) in READERS or method_of == "environ":
                found.update(_names(node.args[0]))
        elif isinstance(node, ast.Subscript) and _last(node.value) == "environ":
            found.update(_names(node.slice))
        elif isinstance(node, ast.Compare) and _last(node.comparators[0]) == "environ":
            found.update(_names(node.left))
    return found


@pytest.mark.slow
def test_every_variable_that_a_library_reads_is_in_the_table():
    unknown, count = {}, 0
    for library in LIBRARIES:
        top, _, rest = library.partition("/")
        spec = find_spec(top)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent / rest
        for file in root.rglob("*.py"):
            if UNUSED_PARTS & set(file.relative_to(root).parts) or file.name.startswith("test_"):
                continue
            names = {name for name in _read_in(file) if name.isupper()}
            count += len(names)
            unknown |= {name: str(file) for name in names if row_of(name) is None}
    assert unknown == {}
    assert count > 300  # the search finds what there is
    assert [name for name in COMPOSED_NAMES if row_of(name) is None] == []


def test_every_row_has_a_reason_and_the_most_specific_row_applies():
    assert all(row.reason for row in TABLE)
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert row_of("ACCELERATE_USE_FSDP").policy is Policy.refused
    assert row_of("ACCELERATE_SOMETHING_NEW").policy is Policy.overridden
    assert row_of("HF_TOKEN").policy is Policy.harmless
    assert row_of("HF_ENDPOINT").policy is Policy.recorded
    assert row_of("HOME") is None


def _variables_of(*policies):
    """The variables with these policies; in a pattern, ``*`` is replaced by ``X``."""
    return [row.name.replace("*", "X") for row in TABLE if row.policy in policies]


def test_the_users_value_replaces_a_default(monkeypatch):
    defaults = {row.name: row.value for row in TABLE if row.policy is Policy.default}
    for name in defaults:
        monkeypatch.delenv(name, raising=False)
    startup.silence()
    assert {name: os.environ[name] for name in defaults} == defaults
    startup.prepare()
    assert not startup.record()["variables"].keys() & defaults
    for name in defaults:
        monkeypatch.setenv(name, "the user's")
    startup.silence()
    startup.prepare()
    assert {startup.record()["variables"][name] for name in defaults} == {"the user's"}


def test_variables_that_a_setting_decides_are_removed_and_others_stay(monkeypatch):
    removed, recorded = (
        _variables_of(Policy.overridden, Policy.refused),
        _variables_of(Policy.recorded),
    )
    harmless = _variables_of(Policy.harmless)
    for name in (*removed, *recorded, *harmless):
        monkeypatch.setenv(name, "no")
    lines = startup.prepare()
    assert not set(removed) & os.environ.keys()
    assert set(os.environ) >= {*recorded, *harmless}
    for name in removed:
        assert (
            sum(line.startswith(f"{name}=no in the environment is not used: ") for line in lines)
            == 1
        )
    record = startup.record()
    assert record["variables_not_used"] == dict.fromkeys(removed, "no")
    assert record["variables"].keys() >= set(recorded)
    assert not record["variables"].keys() & {*removed, *harmless}
    # A child process removes the variables itself, so it gets all values of the user.
    assert startup.for_children().keys() >= {*removed, *recorded}
    assert startup.prepare() == []


def test_variables_of_unsupported_features_are_refused(monkeypatch):
    for name in _variables_of(Policy.refused):
        monkeypatch.setenv(name, "true")
    with pytest.raises(startup.EnvironmentVariableError) as raised:
        startup.prepare()
    for name in _variables_of(Policy.refused):
        assert f"{name}=true in the environment: " in str(raised.value)
        assert f"unset {name}." in str(raised.value)


def test_all_problems_of_variables_are_reported_together(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "1")
    monkeypatch.setenv("ACCELERATE_USE_MEGATRON_LM", "yes")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(startup.EnvironmentVariableError) as raised:
        startup.prepare()
    for word in ("unset RANK WORLD_SIZE", "zero=zero3", "Megatron-LM is not offered"):
        assert word in str(raised.value)


def test_recorded_variables_have_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    monkeypatch.setenv("HF_HOME", "/data/hf_abcdefghijklmnop")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    startup.prepare()
    import torch

    about = environment.describe(0, torch.device("cpu"), torch.float32)
    assert about["variables"]["OMP_NUM_THREADS"] == "3"
    assert "abcdefghijklmnop" not in json.dumps(about)


def _trained_adapter(composed, make_clips, folder, monkeypatch, given, *, prepares):
    """The weights of an adapter that is trained for two steps with the variables ``given``."""
    words = [
        f"task.data.train={make_clips('train', 4)}",
        "device=cpu",
        "logger=none",
        "stages=[train]",
    ]
    words += [
        "trainer.args.max_steps=2", "trainer.args.per_device_train_batch_size=2",
        "task.dimensions=[pitch_dynamics]", "cache.enabled=false", "trainer.args.save_strategy=no",
    ]  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    if prepares:
        startup.prepare()
    run = RunContext(composed(*words), RunFolder(folder))
    folder.mkdir()
    train.run(run)
    return load_file(folder / "model" / "adapter_model.safetensors")


@pytest.mark.slow
def test_the_environment_does_not_change_what_is_trained(
    composed, make_clips, tmp_path, monkeypatch
):
    def trained(name, given, *, prepares=True):
        return _trained_adapter(
            composed, make_clips, tmp_path / name, monkeypatch, given, prepares=prepares
        )

    plain = trained("plain", {})
    hostile = trained("hostile", HOSTILE)
    assert plain.keys() == hostile.keys()
    for key, weight in plain.items():
        assert weight.equal(hostile[key]), key
    assert set(startup.record()["variables_not_used"]) == {
        name for name in HOSTILE if not name.startswith(("PMI_", "TORCHELASTIC_"))
    }
    # Without `startup.prepare`, the variable changes the weights, so the comparison can fail.
    other = trained("other", {"ACCELERATE_MIXED_PRECISION": "bf16"}, prepares=False)
    assert any(not weight.equal(other[key]) for key, weight in plain.items())


def test_telemetry_is_off_if_the_package_is_imported_before_or_after_huggingface_hub():
    """huggingface_hub reads the variable when it is imported; later, its constant has to be set."""
    code = (
        "import os; {0}\nfrom huggingface_hub import constants\nimport dramaeval\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    }
    outputs = []
    for first in ("import dramaeval", "pass", "os.environ['HF_HUB_DISABLE_TELEMETRY'] = '0'"):
        words = [sys.executable, "-c", code.format(first)]
        done = subprocess.run(
            words, env=variables, capture_output=True, text=True, check=True, timeout=100
        )
        outputs.append(done.stdout.strip())
    assert outputs == ["True", "True", "False"]


def test_other_characters_are_escaped_on_an_ascii_terminal(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    startup.accept_any_text()
    print("演技 → 0.5")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u6f14\\u6280 \\u2192 0.5\n"


def test_imported_objects_are_skipped_by_later_collections():
    """A cycle that is created in the block is kept; one that is created after it is collected."""

    class Node:
        def __init__(self):
            self.itself = self

    with startup.without_collections():
        assert not gc.isenabled()
        kept = weakref.ref(Node())
    assert gc.isenabled()
    collected = weakref.ref(Node())
    gc.collect()
    assert kept() is not None
    assert collected() is None


@pytest.mark.parametrize("enabled", [True, False])
def test_collections_are_as_before_after_an_error(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ImportError), startup.without_collections():
            raise ImportError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
