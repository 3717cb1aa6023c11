"""``from=RUN`` takes the settings of a run; settings of the user replace them."""

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dramaeval.config import registration
from dramaeval.config.inheritance import inherit
from dramaeval.config.problems import ConfigError
from dramaeval.stages.run_folder import as_yaml, saved_form

SETTINGS = (
    "peft=ia3", "task.system=Listen.", "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=7",
    "trainer.args.learning_rate=0.5", "seed=3", "batch.global=4", "task.data.train=mine.jsonl",
    "evaluation.draws=20", "logger=none", "task.objective=soft_ce",
)  # fmt: skip


def settings(config):
    return saved_form(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


@pytest.fixture(scope="module")
def run(words_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = words_of(*SETTINGS)
    masked = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    (folder / "config.yaml").write_text(as_yaml(masked))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("trainer.args.max_steps=20", "seed=4"),
        ("task.system=Look.", "+trainer.args.bf16=false", "batch.global=8"),
        ("peft=lora", "peft.r=4"),
        ("~trainer.args.learning_rate",),
        ("task=archetype", "task.data.train=other.jsonl"),
        ("task.objective=answer_ce",),  # trainer.objective refers to it
        ("task.best_by=spearman",),
    ],
    ids=" ".join,
)
def test_settings_of_the_user_replace_those_of_the_run(words_of, run, words):
    """The result equals the overrides of the run followed by those of the user."""
    inherited = settings(inherit(words_of(f"from={run}", *words, "logger=none")))
    groups = {word.partition("=")[0] for word in words if "." not in word.partition("=")[0]}
    kept = [word for word in SETTINGS if word.partition("=")[0].partition(".")[0] not in groups]
    assert inherited == settings(words_of(*kept, *words))
    assert inherited["from"] is None


@pytest.mark.parametrize(
    ("words", "change", "message"),
    [
        ((), {"logger": None, "input": "https://user:(hidden)@host"}, "value of input was masked"),
        ((), {"trainer": {"_target_": "os.system"}}, "trainer._target_=os.system is not part of"),
        (("experiment=realism_lora",), {}, "leave out one of them"),
        ((), None, "holds no run"),
        ((), {"task": "x: [", "model": 1}, None),
    ],
)
def test_masked_untrusted_or_missing_settings_of_a_run_are_refused(
    words_of, run, tmp_path, words, change, message
):
    if change is not None:
        values = yaml.safe_load((run / "config.yaml").read_text())
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**values, **change}))
    config = words_of(f"from={tmp_path}", *words)
    with pytest.raises(ConfigError, match=message):
        inherit(config)
    if change and "trainer" in change:
        config.launch.trust = True
        assert inherit(config).trainer._target_ == "os.system"


ENDPOINT = {
    "_target_": "dramaeval.models.api_model.ApiModel",
    "path": "api",
    "base_url": "http://there.example/v1",
    "name": "judge",
    "key_variable": "SECRET_OF_MINE",
}


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ((), ""),
        (("+model.name=other",), ""),
        (("+model.base_url=http://mine.example/v1",), "base_url"),
        (("+model.key_variable=MINE",), "key_variable"),
        (("+model.base_url=http://mine.example/v1", "+model.key_variable=MINE"), "both"),
        (("model=api", "model.base_url=http://mine.example/v1", "model.name=x"), "both"),
        (("model=qwen2_audio",), "both"),
        (("launch.trust=true",), "trusted"),
    ],
    ids=str,
)
def test_the_address_and_the_key_of_an_endpoint_are_those_of_the_user(
    words_of, run, tmp_path, words, given
):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["model"] = ENDPOINT
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config = words_of(f"from={tmp_path}", *words)
    if given not in ("both", "trusted"):
        with pytest.raises(ConfigError, match="would send your clips to http://there") as raised:
            inherit(config)
        advised = str(raised.value).partition("give ")[2]
        assert [key for key in ("base_url", "key_variable") if key not in advised] == [given][
            : bool(given)
        ]
        assert "SECRET_OF_MINE" in str(raised.value)
        return
    model = settings(inherit(config))["model"]
    if given == "trusted":
        assert model["base_url"] == ENDPOINT["base_url"]
    else:
        assert "there.example" not in str(model)
        assert "SECRET_OF_MINE" not in str(model)


@pytest.mark.parametrize("trust", [(), ("launch.trust=true",)])
def test_no_file_that_the_run_has_written_is_written_again(words_of, run, tmp_path, trust):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values |= {"output": "/theirs.csv", "shards": 4, "shard": 1}
    values["importer"] |= {"output": "/theirs"}
    values["export"] |= {"push_to_hub": "them/judge"}
    values["serve"] |= {"host": "0.0.0.0"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    inherited = inherit(words_of(f"from={tmp_path}", *trust))
    assert (inherited.output, inherited.shards, inherited.shard) == (None, 1, None)
    assert inherited.importer.output is None
    assert (inherited.export.push_to_hub, inherited.serve.host) == (None, "127.0.0.1")
    inherited = inherit(
        words_of(f"from={tmp_path}", "output=mine.csv", "importer.output=here", *trust)
    )
    assert (inherited.output, inherited.importer.output) == ("mine.csv", "here")


def test_texts_of_the_run_are_not_interpolated(words_of, run, tmp_path):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["task"]["system"] = "${oc.env:HOME}"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    config = inherit(words_of(f"from={tmp_path}"))
    assert settings(config)["task"]["system"] == "${oc.env:HOME}"


def test_a_run_given_by_config_name_is_refused_with_a_hint_to_from(words_of, run):
    registration.require_schema(words_of())
    with initialize_config_dir(str(run), version_base="1.3"):
        config = compose("config")
    with pytest.raises(ConfigError, match="from=RUN"):
        registration.require_schema(config)
