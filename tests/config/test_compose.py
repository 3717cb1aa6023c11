"""Every shipped YAML composes, and what it describes can be made."""

import itertools

import pytest
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.config.task_parts import parts_of
from dramaeval.models.families.base import Family
from dramaeval.stages.builders import build_family, build_task
from dramaeval.stages.checks import check
from dramaeval.stages.training_arguments import build_adapter

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
    assert list(config.logger) == ["tensorboard"]
    assert composed("logger=none").logger == {}
    assert composed("peft=none").peft is None


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["trainer.args.learning_rat=1"], ["trainer.args.learning_rat is not an argument of trl.SFTConfig",
                                           "Did you mean learning_rate"]),
        (["peft.lora_alfa=1"], ["peft.lora_alfa is not an argument of peft.LoraConfig", "lora_alpha"]),
        (["+peft.rank=8"], ["peft.rank is not an argument", "Did you mean r?"]),
        (["+peft.dropout=0.1"], ["Did you mean lora_dropout?"]),
        (["+stges=[train]"], ["stges is not a setting", "Did you mean stages?"]),
        (["+batch.globl=64"], ["batch.globl is not a setting", "Did you mean global?"]),
        (["+evaluation.drawz=5"], ["evaluation.drawz is not a setting", "Did you mean draws?"]),
        (["+export.x=1"], ["export.x is not a setting; there are merge"]),
        (["+task.data.foo=1"], ["task.data.foo is not a setting"]),
        (["task=mixed", "+task.tasks.role.data.foo=1"], ["task.tasks.role.data.foo is not a setting"]),
        (["+trainer.foo=1"], ["trainer.foo is not an argument of dramaeval.training.sft.trainer.JudgeSFTTrainer"]),
        (["+trainer.record_encoder=1"], ["trainer.record_encoder is set by the run: use task=…"]),
        (["+model.foo=1"], ["model.foo is not an argument of dramaeval.models.families.qwen2_audio.Qwen2Audio"]),
        (["zero=zero2", "+zero.zero_optimisation.stage=3"],
         ["zero.zero_optimisation is not a setting of DeepSpeed's", "Did you mean zero_optimization"]),
        (["zero=zero2", "+zero.fp16.enabled=true"], ["zero.fp16 is set by the run: use model.dtype"]),
        (["peft._target_=nope.X"], ["peft._target_=nope.X cannot be imported: No module named 'nope'"]),
        (["task._target_=dramaeval.nope"], ["task._target_=dramaeval.nope cannot be imported"]),
        (["model._target_=nope.X"], ["model._target_=nope.X cannot be imported"]),
        (["model.path=null"], ["model.path=None names no model"]),
        (["seed=-5"], ["seed=-5 must be 0 or more"]),
        (["seed=5000000000"], ["at most 4,294,967,295"]),
        (["adapt=5"], ["adapt=5 must be a name or a list of names"]),
        (["peft.bias=foo"], ["peft.bias=foo is not known; choose one of none"]),
        (["peft.r=0"], ["peft.r=0 must be 1 or more"]),
        (["peft=prompt", "peft.num_virtual_tokens=0"], ["peft.num_virtual_tokens=0 must be 1 or more"]),
        (["peft=prompt", "peft.prompt_tuning_init=FOO"], ["prompt_tuning_init=FOO is not known", "RANDOM"]),
        (["peft=adalora", "peft.deltaT=0"], ["peft.deltaT=0 must be 1 or more"]),
        (["peft=qlora", "quantization.bnb_4bit_quant_type=nf5"], ["one of nf4, fp4", "Did you mean nf4"]),
        (["trainer.args.num_train_epochs=-1"], ["trainer.args.num_train_epochs=-1 must be above 0"]),
        (["trainer.args.learning_rate=-1"], ["trainer.args.learning_rate=-1 must be above 0"]),
        (["trainer.args.metric_for_best_model=foo"], ["choose one of pearson, loss", "pearson/KEY"]),
        (["trainer.objective=-1*soft_ce"], ["the weight -1 of soft_ce must be above 0"]),
        (["task=mixed", "task.tasks.role.shots=1"], ["task.tasks.role.shots=1: a mixture shows no examples"]),
        (["stages=[prepare]", "task.shots=1"], ["task.shots=1 with stages=[prepare]"]),
        (["task.dimensions=[]"], ["task.dimensions=[] asks for nothing: null asks for all"]),
        (["task.dimensions=pitch_dynamics"], ["must be a list: task.dimensions=[pitch_dynamics]"]),
        (["evaluation.metrics=[foo]"], ["evaluation.metrics: foo is no metric"]),
        (["task.data.train=no.jsonl", "task.data.test=no2.jsonl", "checkpoint=/not/there"],
         ["task.data.train: no.jsonl does not exist", "task.data.test: no2.jsonl does not exist",
          "checkpoint=/not/there does not exist"]),
        (["trainer.args.learning_rate=fast"], ["trainer.args.learning_rate=fast must be a number"]),
        (["trainer.args.max_steps=1.5"], ["trainer.args.max_steps=1.5 must be a whole number"]),
        (["trainer.args.output_dir=x"], ["is set by the run: use hydra.run.dir=FOLDER"]),
        (["task.labels=modal"], ["task.labels=modal is not known; choose one of distribution"]),
        (["trainer.objective=soft_c"], ["'soft_c' is not known", "Did you mean soft_ce"]),
        (["stages=[]"], ["stages=[] does nothing"]),
        (["task.data.test=x.jsonl"], ["task.data.train is not set, but stages has train"]),
        (["task.data.train=x", "stages=[evaluate]"], ["Neither task.data.val nor task.data.test"]),
        (["checkpoint=/not/there"], ["checkpoint=/not/there does not exist"]),
        (["model.attention=flash"], ["model.attention=flash is not known", "flash_attention_2"]),
        (["model.attention=eager"], ["batch.shared_prefix=false"]),
        (["task.lables=mean"], ["task.lables is not an argument", "Did you mean labels"]),
        (["task=archetype", "task.gat=x"], ["task.gat is not an argument", "gate"]),
        (["task.data.max_seconds=31"], ["at most 30"]),
        (["batch.eval_clips=0"], ["batch.eval_clips=0 must be 1 or more"]),
        (["evaluation.level=95"], ["above 0 and below 1"]),
        (["model=qwen2_audio"], ["model.path has no value"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key_and_its_fix(composed, overrides, messages):
    with pytest.raises(ConfigError) as raised:
        check(composed(*overrides))
    for message in messages:
        assert message in str(raised.value)


def test_all_problems_are_told_at_once(composed):
    with pytest.raises(ConfigError) as raised:
        check(composed("peft.rank=1", "trainer.args.lr=1", "task.labels=x", "seed=1"))
    assert len(raised.value.problems) == 3


@pytest.mark.parametrize(
    "override", ["task.data.trian=x", "model.paht=x", "stages=[tarin]", "seed=many", "task=rolle"]
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
