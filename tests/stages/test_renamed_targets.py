"""Run folders of version 0.1.0 name classes that have other names now; they can still be read."""

import json
import shutil

import pytest
import yaml
from hydra.utils import get_object

from dramaeval import Judge
from dramaeval.config import trust
from dramaeval.config.renamed_targets import RENAMED, with_current_targets
from dramaeval.data.saved_settings import read_settings
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report.read_results import read_run
from dramaeval.stages.run_folder import RunFolder

#: Every class and function of this package under ``_target_`` in the configurations of version 0.1.0.
IN_CONFIGS = [
    "dramaeval.cluster.locking_callback.LocksRunFolder",
    "dramaeval.models.audio_flamingo3.AudioFlamingo3",
    "dramaeval.models.causal_lm.CausalLM",
    "dramaeval.models.qwen2_5_omni.Qwen25Omni",
    "dramaeval.models.qwen2_audio.Qwen2Audio",
    "dramaeval.models.voxtral.Voxtral",
    "dramaeval.run.storage.FolderCheck",
    "dramaeval.tasks.choice.ChoiceTask",
    "dramaeval.tasks.gated.GatedTask",
    "dramaeval.tasks.labels.RaterWeighted",
    "dramaeval.tasks.labels.distribution",
    "dramaeval.tasks.labels.mean",
    "dramaeval.tasks.labels.median",
    "dramaeval.tasks.labels.sample",
    "dramaeval.tasks.mixed.MixedTask",
    "dramaeval.tasks.processed.ProcessedTask",
    "dramaeval.tasks.task.Task",
    "dramaeval.tasks.thought.ThoughtTask",
    "dramaeval.tasks.together.TogetherTask",
    "dramaeval.tasks.variation.VariationTask",
    "dramaeval.training.grpo.JudgeGRPO",
    "dramaeval.training.objectives.answer_ce",
    "dramaeval.training.objectives.choice_ce",
    "dramaeval.training.objectives.expected_mse",
    "dramaeval.training.objectives.ordinal",
    "dramaeval.training.objectives.ranking",
    "dramaeval.training.objectives.soft_ce",
    "dramaeval.training.rewards.agreement.Agreement",
    "dramaeval.training.rewards.correlation.Correlation",
    "dramaeval.training.rewards.distance.Distance",
    "dramaeval.training.rewards.exact.Exact",
    "dramaeval.training.rewards.format.Format",
    "dramaeval.training.rewards.length.Length",
    "dramaeval.training.sft.JudgeTrainer",
    "hydra_plugins.dramaeval_sweeps.Grid",
    "hydra_plugins.dramaeval_sweeps.LocalProcesses",
    "hydra_plugins.dramaeval_sweeps.Optuna",
    "hydra_plugins.dramaeval_sweeps.Slurm",
]
#: The classes and functions from which version 0.1.0 rebuilt a judge without ``trust``.
TRUSTED = [
    "dramaeval.models.audio_flamingo3.AudioFlamingo3",
    "dramaeval.models.causal_lm.CausalLM",
    "dramaeval.models.qwen2_5_omni.Qwen25Omni",
    "dramaeval.models.qwen2_audio.Qwen2Audio",
    "dramaeval.models.voxtral.Voxtral",
    "dramaeval.tasks.choice.ChoiceTask",
    "dramaeval.tasks.gated.GatedTask",
    "dramaeval.tasks.labels.distribution",
    "dramaeval.tasks.mixed.MixedTask",
    "dramaeval.tasks.processed.ProcessedTask",
    "dramaeval.tasks.task.Task",
    "dramaeval.tasks.thought.ThoughtTask",
    "dramaeval.tasks.together.TogetherTask",
    "dramaeval.tasks.variation.VariationTask",
    "transformers.BitsAndBytesConfig",
]
OLD_NAMES = {new: old for old, new in RENAMED.items()}


def with_old_targets(values):
    """Values of a configuration as version 0.1.0 wrote them."""
    if isinstance(values, dict):
        return {
            key: OLD_NAMES.get(value, value) if key == "_target_" else with_old_targets(value)
            for key, value in values.items()
        }
    return [with_old_targets(value) for value in values] if isinstance(values, list) else values


@pytest.fixture
def old_run(composed, tmp_path):
    """A function that writes the folder of an evaluation of the tiny judge, with the names of version 0.1.0."""

    def write(*overrides, name="run"):
        folder = RunFolder(tmp_path / name)
        folder.open(composed("device=cpu", "stages=[evaluate]", *overrides))
        values = with_old_targets(yaml.safe_load(folder.config.read_text()))
        folder.config.write_text(yaml.safe_dump(values))
        (folder.path / "dramaeval_manifest.json").unlink()
        return folder

    return write


@pytest.mark.parametrize("name", IN_CONFIGS)
def test_each_old_target_is_resolved_to_a_class_or_function(name):
    assert callable(get_object(with_current_targets({"_target_": name})["_target_"]))


def test_the_table_of_renamed_targets_has_only_old_names():
    assert RENAMED.keys() <= set(IN_CONFIGS)
    assert not RENAMED.keys() & set(RENAMED.values())


def test_targets_are_renamed_at_any_depth_and_nothing_else_is():
    old = "dramaeval.models.causal_lm.CausalLM"
    values = {"a": [{"_target_": old, "path": old}], "_target_": "my.own.Class", "b": None}
    assert with_current_targets(values) == {
        "a": [{"_target_": "dramaeval.models.families.causal_lm.CausalLM", "path": old}],
        "_target_": "my.own.Class",
        "b": None,
    }


def test_targets_trusted_in_version_0_1_0_are_still_trusted():
    assert {RENAMED.get(name, name) for name in TRUSTED} <= trust.TRUSTED


def test_a_judge_is_loaded_from_an_old_run(old_run):
    folder = old_run("task=role_all")
    assert "dramaeval.tasks.together.TogetherTask" in folder.config.read_text()
    judge = Judge.load(folder.path, device="cpu")
    assert type(judge.family).__name__ == "Qwen2Audio"
    assert type(judge.task("role_all")).__name__ == "AllDimensionsTask"


def test_interpolations_and_missing_values_of_old_settings_are_not_resolved(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "a: ${b}\nb: ???\nc: \\${x}\nmodel: {_target_: dramaeval.models.voxtral.Voxtral}\n"
    )
    settings = read_settings(file)
    assert settings._get_node("a")._value() == "${b}"
    assert settings._get_node("b")._value() == "???"
    assert settings.c == "${x}"
    assert settings.model._target_ == "dramaeval.models.families.voxtral.Voxtral"


def test_an_old_run_is_resumed_with_the_same_settings(old_run, composed):
    folder = old_run("peft=lora", "trainer=grpo")
    (folder.path / "predictions.zero_shot.jsonl").write_text("")
    folder.open(composed("device=cpu", "stages=[evaluate]", "peft=lora", "trainer=grpo"))
    assert "dramaeval.training.grpo.trainer.JudgeGRPOTrainer" in folder.config.read_text()


def test_a_report_finds_no_difference_between_an_old_and_a_new_run(old_run):
    prediction = Prediction(
        id="a", dimension="pitch", scale=(1.0, 2.0), distribution=(0.5, 0.5), expected=1.5,
        ratings=(1.0, 2.0), state="scored",
    )  # fmt: skip
    old = old_run().path
    line = {"split": "test", "phase": "final", **prediction.to_json()}
    (old / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    new = shutil.copytree(old, old.with_name("new"))
    values = with_current_targets(yaml.safe_load((new / "config.yaml").read_text()))
    (new / "config.yaml").write_text(yaml.safe_dump(values))
    assert (new / "config.yaml").read_text() != (old / "config.yaml").read_text()
    assert read_run(old, "old", "test", None).config == read_run(new, "new", "test", None).config
