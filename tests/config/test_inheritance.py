"""``checkpoint=`` sets the settings of its judge; contradicting settings of the user are refused."""

import json
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from dramaeval.config.inheritance import inherit
from dramaeval.config.judge_file import judge_text
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.config.user_keys import override_keys
from dramaeval.models.settings import PART_SETTINGS
from dramaeval.stages.run_folder import as_yaml, saved_form
from dramaeval.tasks import settings as task_settings

TINY = str(PACKAGE / "models" / "tiny")
RECORDS = "task.data.test=mine.jsonl"
DIMENSIONS = [
    {
        "key": key, "annotation": key, "title": key.title(), "scale": [1, 2, 3],
        "description": f"How {key} it is.", "scores": {1: "not", 2: "partly", 3: "very"},
    }
    for key in ("calm", "loud")
]  # fmt: skip


@pytest.fixture(scope="module")
def save(words_of, tmp_path_factory):
    """A function that writes the folder of a judge trained with these settings; it returns ``checkpoint=FOLDER``."""

    def write(*words, adapter=True, **changes):
        config = words_of(*words)
        for key, value in changes.items():
            OmegaConf.update(config, key.replace("__", "."), value, merge=False)
        settings = saved_form(OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]))
        folder = tmp_path_factory.mktemp("judge")
        name = "adapter_config.json" if adapter else "config.json"
        (folder / name).write_text(json.dumps({"base_model_name_or_path": config.model.path}))
        text = judge_text(settings, base=config.model.path, front_end=3)
        (folder / "judge.yaml").write_text(text, encoding="utf-8")
        return f"checkpoint={folder}"

    return write


@pytest.fixture(scope="module")
def own_judge(save):
    """A judge with its own rubric, prompt and records."""
    return save(
        "task.data.train=mine.jsonl", "task.rubric.name=moods", "task.rubric.version='2.5'",
        "task.system=Listen.", "trainer.objective=soft_ce", task__rubric__dimensions=DIMENSIONS,
    )  # fmt: skip


def problems(config):
    with pytest.raises(ConfigError) as raised:
        inherit(config)
    return list(raised.value.problems)


def test_a_judge_provides_rubric_prompt_and_objective(words_of, own_judge):
    config = inherit(words_of(own_judge, RECORDS, "stages=[train,evaluate]"))
    assert OmegaConf.to_container(config.task.rubric.dimensions) == DIMENSIONS
    assert (config.task.rubric.name, config.task.rubric.version) == ("moods", "2.5")
    assert config.task.system == "Listen."
    assert config.trainer.objective == "soft_ce"
    assert config.task.data.test == "mine.jsonl"
    assert config.model.path == TINY
    without_hydra = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    again = inherit(
        without_hydra
    )  # without Hydra's node, as in a process that does not know the command line
    assert saved_form(again) == saved_form(without_hydra)


@pytest.mark.parametrize(
    ("words", "given", "saved"),
    [
        (["task.system=Look."], "task.system=Look.", "has Listen."),
        # The default value, given explicitly.
        (["task.system=You judge acted speech."], "task.system=You judge", "has Listen."),
        (["task/rubric=realism"], "task.rubric.name=realism", "has moods"),
        (["task=archetype"], "task=archetype", "has role"),
        (["task.prompt_layout=criteria_first"], "task.prompt_layout=criteria_first", "has context_first"),
        (["model.head=regression"], "model.head=regression", "has vocabulary"),
        (["model=voxtral", "model.path=org/one"], "model._target_=", "qwen2_audio.Qwen2Audio"),
        (["model=qwen2_audio", "model.path=org/one"], "model.path=org/one", TINY),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_contradiction_is_refused_with_both_values(words_of, own_judge, words, given, saved):
    config = words_of(own_judge, RECORDS, *words)
    text = "\n".join(problems(config))
    assert given in text
    assert saved in text
    assert "checkpoint_override=true" in text
    config.checkpoint_override = True
    replaced = inherit(config)
    for word in words:
        key, _, value = word.partition("=")
        if "." in key:
            assert OmegaConf.select(replaced, key) == value
    assert replaced.task.name == ("archetype" if words[0] == "task=archetype" else "role")


def test_equal_values_and_settings_of_training_and_scoring_are_accepted(words_of, own_judge):
    config = inherit(
        words_of(
            own_judge, RECORDS, "task=role", "task.system=Listen.", "task.labels=mean", "model=tiny",
            "task.objective=expected_mse", "task.dimensions=[loud]", "model.attention=eager",
        )
    )  # fmt: skip
    assert (config.task.labels, config.task.dimensions) == ("mean", ["loud"])
    assert config.trainer.objective == "expected_mse"
    assert config.task.rubric.name == "moods"


def test_a_subset_of_dimensions_is_refused_if_one_question_asks_for_all(words_of, save):
    joint_judge = save("task=role_all", "task.dimensions=[pitch_dynamics,emotion_accuracy]")
    text = problems(words_of(joint_judge, "task.dimensions=[pitch_dynamics]"))[0]
    assert "has ['pitch_dynamics', 'emotion_accuracy']" in text


@pytest.mark.parametrize("stages", ["evaluate", "train", "train,evaluate", "evaluate,controls"])
def test_a_judge_of_other_records_is_not_run_on_the_sample(words_of, own_judge, stages):
    config = words_of(own_judge, f"stages=[{stages}]")
    assert "task.data names no records" in problems(config)[0]
    config.stages = ["score"]
    assert inherit(config).task.data.sample is None
    config.stages = ["evaluate"]
    config.task.data.sample = "mine"
    assert inherit(config).task.data.sample == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["role", "archetype", "avqa", "role_caption", "mixed"])
def test_a_judge_trained_on_the_sample_is_evaluated_on_the_sample(words_of, save, task):
    config = inherit(words_of(save(f"task={task}"), "stages=[evaluate]"))
    expected = words_of(f"task={task}")
    assert saved_form(config.task) == saved_form(expected.task)


def test_a_judge_of_a_mixture_is_evaluated_on_one_of_its_tasks(words_of, save):
    mixture = save("task=mixed", "task.tasks.role.system=Listen.")
    config = inherit(words_of(mixture, "task=role", "stages=[evaluate]"))
    assert (config.task.name, config.task.system) == ("role", "Listen.")
    assert "tasks" not in config.task


def test_the_limits_of_a_mixture_are_those_of_its_parts(words_of, save):
    limits = "task.data.max_seconds=15", "task.data.on_long=trim"
    part = "task.tasks.role.data.max_seconds=20", "task.tasks.role.data.on_long=error"
    for words in (limits, (*limits, *part)):  # earlier versions ignored those of a part
        mixture = save("task=mixed", *words)
        alone = inherit(words_of(mixture, "task=role", "stages=[evaluate]")).task.data
        assert (alone.max_seconds, alone.on_long.value) == (15.0, "trim")
        alone = inherit(words_of(mixture, "task=role", "task.data.max_seconds=25")).task.data
        assert (alone.max_seconds, alone.on_long.value) == (25.0, "trim")
        for seconds in (15.0, 25.0):
            longer = [f"task.data.max_seconds={seconds}"] if seconds == 25.0 else []
            together = inherit(words_of(mixture, *longer)).task
            assert (together.data.max_seconds, together.data.on_long.value) == (seconds, "trim")
            assert task_settings.problems(inherit(words_of(mixture, *longer))) == []


def test_prepared_records_have_no_label_policy(words_of, save):
    config = inherit(words_of(save("task=processed", "task.data.train=a.jsonl"), RECORDS))
    assert config.task._target_.endswith("ProcessedTask")
    assert "rubric" not in config.task
    assert config.task.labels is None


def test_a_full_model_replaces_the_model_path_and_an_adapter_keeps_it(words_of, save):
    words = save("model=qwen2_audio", "model.path=org/one", "model.revision=v2", adapter=False)
    config = inherit(words_of(words, "stages=[evaluate]"))
    assert config.model.path == words.partition("=")[2]
    adapter = save("model=qwen2_audio", "model.path=org/one", "model.revision=v2")
    assert inherit(words_of(adapter)).model.path == "org/one"
    assert inherit(words_of(adapter)).model.revision == "v2"


def test_parts_that_were_frozen_in_training_are_not_frozen_in_the_next_training(words_of, save):
    frozen = [f"model.{key}={str(value).lower()}" for _, key, value in PART_SETTINGS]
    aligned = save("task=role_transcript", "peft=none", *frozen, adapter=False)
    words = (aligned, "checkpoint_override=true", "task=role", "peft=none", RECORDS)
    config = inherit(words_of(*words))
    assert [config.model[key] for _, key, _ in PART_SETTINGS] == [False, False, True]
    assert inherit(words_of(*words, "model.freeze_llm=true")).model.freeze_llm


def test_the_settings_of_an_older_run_are_read_from_config_yaml(words_of, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text(
        f'{{"base_model_name_or_path": "{TINY}"}}'
    )
    config = words_of("task.system=Listen.", "task.data.test=mine.jsonl")
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    (tmp_path / "config.yaml").write_text(as_yaml(config))
    assert inherit(words_of(f"checkpoint={tmp_path}", RECORDS)).task.system == "Listen."
    assert "Listen." in problems(words_of(f"checkpoint={tmp_path}", "task.system=No."))[0]


def test_a_file_of_unknown_origin_is_read_as_data_only(words_of, own_judge, tmp_path):
    folder = own_judge.partition("=")[2]
    values = yaml.safe_load(Path(folder, "judge.yaml").read_text(encoding="utf-8"))
    (tmp_path / "adapter_config.json").write_text("{}")
    mark = tmp_path / "created"
    node = {"_target_": "torch.utils.collect_env.run", "command": f"touch {mark}"}
    words = [f"checkpoint={tmp_path}", RECORDS]
    for changed in (
        {**values, "task": {**values["task"], "rubric": node}},
        {**values, "task": {**values["task"], **node}},
        {**values, "model": {**values["model"], "architecture": {"a": node}, **node}},
    ):
        (tmp_path / "judge.yaml").write_text(yaml.safe_dump(changed))
        assert (
            "_target_=torch.utils.collect_env.run is not part of dramaeval"
            in problems(words_of(*words))[0]
        )
    text = "task: !!python/object/apply:os.system ['touch " + str(mark) + "']"
    (tmp_path / "judge.yaml").write_text(text)
    assert "is not YAML" in problems(words_of(*words))[0]
    values["task"]["system"] = "${oc.env:HOME} \\${x}"
    (tmp_path / "judge.yaml").write_text(yaml.safe_dump(values))
    assert saved_form(inherit(words_of(*words)).task)["system"] == "${oc.env:HOME} \\${x}"
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["task: 3\nmodel: {}", "format: 99", "[1, 2]", "", "a: [", "\udcff"]
)
def test_a_damaged_file_is_reported_or_not_used(words_of, tmp_path, text):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "judge.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        inherit(words_of(f"checkpoint={tmp_path}"))
    except ConfigError as error:
        assert "judge.yaml" in str(error)  # noqa: PT017 - an empty file is not used


def test_damaged_settings_of_an_older_run_are_reported(words_of, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("{stages: [train], task: {}, model: tiny}")
    (problem,) = problems(words_of(f"checkpoint={tmp_path}"))
    assert problem.endswith("config.yaml: model is not a mapping. Restore the file from a copy.")


def test_override_keys_returns_the_keys_of_the_command_line(words_of):
    config = words_of("task/rubric=realism", "+trainer.args.bf16=false", "~peft.r", "seed=1")
    assert override_keys(config) == ("task.rubric", "trainer.args.bf16", "peft.r", "seed")
