"""Every YAML file in configs/ can be composed, passes the checks, and its objects can be built."""

import itertools

import pytest
import yaml
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.config.extras import INTEGRATIONS
from dramaeval.config.schema import PACKAGE
from dramaeval.config.task_parts import parts_of
from dramaeval.models.api_model import ApiModel
from dramaeval.models.families.base import Family
from dramaeval.stages.builders import build_family, build_task
from dramaeval.stages.checks import check
from dramaeval.stages.training_arguments import build_adapter

CONFIGS = ROOT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
#: Families' files without a path.
ANY_CHECKPOINT = {
    file.stem
    for file in (CONFIGS / "model").glob("*.yaml")
    if not {"path", "defaults"} & set(yaml.safe_load(file.read_text(encoding="utf-8")))
}
SINGLE = ("model", "task", "peft", "zero", "trainer", "callbacks", "logger", "experiment")


def choices(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def test_every_file_belongs_to_a_tested_group():
    tested = {CONFIGS / "launch.yaml", CONFIGS / "hydra/help/dramaeval.yaml"}
    # The last ones are tested in tests/launch and tests/stages/test_import_records.py.
    tested_elsewhere = ("hydra/launcher", "hydra/sweeper", "search", "importer")
    parts = ("task/rubric", "task/label_policies", "task/phrasings")
    for group in (*SINGLE, *parts, *tested_elsewhere):
        tested |= {CONFIGS / group / f"{name}.yaml" for name in choices(group)}
    assert set(FILES) == tested
    assert len(FILES) > 12


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group in SINGLE for name in choices(group)],
)
def test_every_choice_is_composed_checked_and_built(composed, monkeypatch, group, name):
    override = f"{group}={name}"
    extra = ["model.path=/some/folder"] if name in ANY_CHECKPOINT else []
    # The class or its adapted layers depend on the configuration of the checkpoint.
    tiny = PACKAGE / "models" / "tiny"
    extra = [f"model.path={tiny}"] if name in ("qwen2_audio", "qwen2_audio_14b") else extra
    extra += [f"model.audio={tiny}", f"model.text={tiny}"] if name in ("composed", "align") else []
    extra += ["+model.architecture={model_type: llama}"] if name == "causal_lm" else []
    endpoint = ["stages=[evaluate]", "model.name=m", "model.base_url=http://localhost:8000/v1"]
    extra += endpoint if name == "api" else []
    sample = PACKAGE / "data" / "sample" / "realism" / "test.jsonl"
    extra += (
        [f"task.data.train={sample}", f"task.data.test={sample}"]
        if name in ("processed", "speech")
        else []
    )
    config = composed(override, *extra)
    with monkeypatch.context() as patched:
        if name.endswith("_offload"):  # needs a GPU
            patched.setattr("torch.cuda.is_available", lambda: True)
        if name in INTEGRATIONS:  # packages that need not be installed
            patched.setattr("dramaeval.config.extras.find_spec", lambda package: True)
        check(config)
    OmegaConf.to_container(config, resolve=True)
    family = build_family(config)
    assert isinstance(family, ApiModel if name == "api" else Family)
    task = build_task(config)
    assert task.dimensions or name == "processed"  # reads its dimensions from the records
    if name == "api":  # nothing to adapt
        return
    adapter = build_adapter(config, family, steps=100)
    assert (adapter is None) == (config.peft is None)
    for node in config.trainer.get("objectives", {}).values():
        assert callable(instantiate(node))
    for part in parts_of(config.task).values():
        for node in part.get("label_policies", {}).values():
            assert callable(instantiate(node))


def test_every_rubric_builds_with_all_its_scores(composed):
    for name in choices("task/rubric"):
        if name == "avqa":  # has options instead of dimensions
            assert build_task(composed("task=avqa")).rubric.name == name
            continue
        task = build_task(composed(f"task/rubric={name}"))
        assert task.rubric.name == name
        for dimension in task.dimensions:
            text = task.rubric.criterion(dimension)
            for score in dimension.scale:
                assert f"{score}: {dimension.scores[score]}" in text


def test_the_ten_dimensions_and_their_fields(composed):
    task = build_task(composed())
    assert [(dimension.key, dimension.annotation) for dimension in task.dimensions] == [
        ("pitch_dynamics", "pitch_variation"),
        ("rhythmic_naturalness", "rhythmic_naturalness"),
        ("stress_emphasis", "stress_and_emphasis"),
        ("emotion_accuracy", "emotion_accuracy"),
        ("emotion_intensity", "emotion_intensity_control"),
        ("emotional_dynamic_range", "dynamic_range"),
        ("voice_identity_matching", "voice_identity_matching"),
        ("trait_embodiment", "trait_embodiment"),
        ("local_scene_fit", "local_story_fit"),
        ("global_story_fit", "global_story_coherence"),
    ]
    assert all(dimension.scale == (1, 2, 3, 4, 5) for dimension in task.dimensions)


def test_the_defaults_are_those_of_the_documentation(composed):
    config = composed()
    assert config.model.path.endswith("models/tiny")
    assert (config.task.name, config.zero, config.seed) == ("role", None, 0)
    assert config.peft._target_ == "peft.LoraConfig"
    assert (config.logger.tensorboard, config.logger.wandb.enabled) == (True, False)
    assert not composed("logger=none").logger.tensorboard
    assert composed("peft=none").peft is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.data.trian=x", "Could not override 'task.data.trian'"),
        ("batch.globl=1", "Could not override 'batch.globl'"),
        ("stages=[tarin]", "Invalid value 'tarin'"),
        ("seed=many", "Value 'many' of type 'str' could not be converted to Integer"),
        ("task=rolle", "Could not find 'task/rolle'"),
        ("logger.wandb.mod=x", "Could not override 'logger.wandb.mod'"),
    ],
)
def test_a_misspelt_key_or_value_fails_when_composing(composed, override, message):
    with pytest.raises(ConfigCompositionException) as raised:
        composed(override)
    assert message in f"{raised.value} {raised.value.__cause__}"


def test_a_rubric_of_the_user_is_one_file_in_the_search_path(tmp_path, composed):
    folder = tmp_path / "task" / "rubric"
    folder.mkdir(parents=True)
    (folder / "warmth.yaml").write_text(
        "name: warmth\nversion: '1'\nlanguage: de\n"
        "question: |-\n  {title}. {description}\n  {scores}\n  Antworte mit <answer>Note</answer>.\n"
        "dimensions:\n- key: warmth\n  annotation: waerme\n  title: Wärme\n  scale: [0, 1, 2]\n"
        "  description: Wie warm die Stimme klingt.\n  scores: {0: kalt, 1: neutral, 2: warm}\n",
        encoding="utf-8",
    )
    config = composed("task/rubric=warmth", f"hydra.searchpath=[file://{tmp_path}]")
    task = build_task(config)
    assert task.rubric.criterion(task.dimensions[0]) == (
        "Wärme. Wie warm die Stimme klingt.\n0: kalt\n1: neutral\n2: warm\n"
        "Antworte mit <answer>Note</answer>."
    )


@pytest.mark.slow
def test_choices_of_several_groups_can_be_combined(composed):
    for model, peft, labels in itertools.product(
        ("tiny", "qwen2_audio_7b"), ("lora", "none"), ("sample", "mean")
    ):
        check(composed(f"model={model}", f"peft={peft}", f"task.labels={labels}"))


@pytest.mark.parametrize(
    ("overrides", "objective"),
    [
        ([], "expected_mse+0.2*soft_ce"),
        (["task=role_all"], "expected_mse+0.2*soft_ce"),
        (["task=archetype"], "expected_mse+0.2*soft_ce"),
        (["task=avqa"], "soft_ce"),  # options have no order
        (["task=mixed"], "soft_ce"),
        (["task=avqa", "task.objective=choice_ce"], "choice_ce"),
        (["trainer.objective=answer_ce"], "answer_ce"),
        (["experiment=realism_lora"], "answer_ce"),  # as published
    ],
)
def test_the_objective_is_that_of_the_task_unless_the_trainer_sets_one(
    composed, overrides, objective
):
    config = composed(*overrides)
    check(config)
    assert config.trainer.objective == objective


def test_a_configuration_without_its_sources_has_no_chosen_files():
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import flag_override

    from dramaeval.config.composition import chosen_files, compose

    before, config = HydraConfig.instance().cfg, compose(with_hydra=True)
    with flag_override(config, ["readonly", "struct"], False):
        config.hydra.runtime.config_sources = "???"
    HydraConfig.instance().set_config(config)
    try:
        assert chosen_files("task") == []
    finally:
        HydraConfig.instance().cfg = before
