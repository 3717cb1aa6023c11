"""Every shipped YAML composes, and what it describes can be made."""

import itertools

import pytest
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.config.schema import PACKAGE
from dramaeval.config.task_parts import parts_of
from dramaeval.models.families.base import Family
from dramaeval.stages.builders import build_adapter, build_family, build_task
from dramaeval.stages.checks import check

CONFIGS = ROOT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
#: Part files: composed through the files that name them, and by overrides of their own.
ANY_CHECKPOINT = ("qwen2_audio", "qwen2_5_omni", "voxtral", "audio_flamingo3", "causal_lm")
SINGLE = ("model", "task", "peft", "zero", "trainer", "logger", "experiment")


def choices(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def test_every_file_belongs_to_a_tested_group():
    tested = {CONFIGS / "launch.yaml", CONFIGS / "hydra/help/dramaeval.yaml"}
    # The last three are tested in tests/launch.
    elsewhere = ("hydra/launcher", "hydra/sweeper", "search")
    own = ("task/rubric", "task/label_policies", "task/phrasings")
    for group in (*SINGLE, *own, *elsewhere):
        tested |= {CONFIGS / group / f"{name}.yaml" for name in choices(group)}
    assert set(FILES) == tested
    assert len(FILES) > 12


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group in SINGLE for name in choices(group)],
)
def test_every_choice_composes_checks_and_builds(composed, monkeypatch, group, name):
    override = f"{group}={name}"
    extra = ["model.path=/some/folder"] if name in ANY_CHECKPOINT else []
    # Which class it is and what it adapts is read from the checkpoint, or told.
    extra += ["+model.architecture={model_type: llama}"] if name == "causal_lm" else []
    own = PACKAGE / "data" / "sample" / "realism" / "test.jsonl"
    extra += [f"task.data.train={own}", f"task.data.test={own}"] if name == "processed" else []
    config = composed(override, *extra)
    with monkeypatch.context() as machine:
        if name.endswith("_offload"):  # is refused where there is no GPU
            machine.setattr("torch.cuda.is_available", lambda: True)
        check(config)
    OmegaConf.to_container(config, resolve=True)
    family = build_family(config)
    assert isinstance(family, Family)
    task = build_task(config)
    assert task.dimensions or name == "processed"  # knows its dimensions when it has read its lines
    adapter = build_adapter(config, family, steps=100)
    assert (adapter is None) == (config.peft is None)
    for node in config.trainer.get("objectives", {}).values():
        assert callable(instantiate(node))
    for part in parts_of(config.task).values():
        for node in part.get("label_policies", {}).values():
            assert callable(instantiate(node))


def test_every_rubric_can_be_asked(composed):
    for name in choices("task/rubric"):
        if name == "avqa":  # has options in place of dimensions
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
    assert [(one.key, one.annotation) for one in task.dimensions] == [
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
    assert all(one.scale == (1, 2, 3, 4, 5) for one in task.dimensions)


def test_defaults_are_those_promised(composed):
    config = composed()
    assert config.model.path.endswith("models/tiny")
    assert (config.task.name, config.zero, config.seed) == ("role", None, 0)
    assert config.peft._target_ == "peft.LoraConfig"
    assert (config.logger.tensorboard, config.logger.wandb.enabled) == (True, False)
    assert not composed("logger=none").logger.tensorboard
    assert composed("peft=none").peft is None


@pytest.mark.parametrize(
    "override",
    [
        "task.data.trian=x",
        "batch.globl=1",
        "stages=[tarin]",
        "seed=many",
        "task=rolle",
        "logger.wandb.mod=x",
    ],
)
def test_typos_in_our_own_keys_fail_at_compose(composed, override):
    with pytest.raises((ConfigCompositionException, Exception)) as raised:
        composed(override)
    assert override.split("=")[0].split(".")[-1] in str(raised.value) or "rolle" in str(
        raised.value
    )


def test_a_rubric_of_ones_own_needs_one_file(tmp_path, composed):
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


def test_groups_combine(composed):
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
def test_the_task_says_what_is_lowered(composed, overrides, objective):
    config = composed(*overrides)
    check(config)
    assert config.trainer.objective == objective
