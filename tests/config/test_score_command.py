"""``dramaeval score RUN CLIP … NAME=TEXT …`` is translated to ``stages=[score]`` and settings."""

from __future__ import annotations

import pytest

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.score_command import with_settings_of_score, with_settings_of_serve
from dramaeval.config.unknown_keys import OPTIONS_WITH_VALUE


def test_words_are_read_as_judge_clips_texts_and_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.wav").touch()
    words = ["score", "tiny", "x y.wav", "take*.flac", "a=b.wav", "-"]
    texts = {"scene": "It's 5 o'clock, ${env}; {a: [b]}\\", "age": "20", "note": "a=b"}
    words += [f"{name}={text}" for name, text in texts.items()]
    words += ["seed=3", "batch.eval_clips=2", "output=scores.csv", "task=archetype"]
    config = compose(*with_settings_of_score(words))
    assert config.input == ["x y.wav", "take*.flac", "a=b.wav", "-"]
    assert dict(config.texts) == texts
    assert (config.seed, config.batch.eval_clips, config.output) == (3, 2, "scores.csv")
    assert config.task.name == "archetype"
    assert [stage.name for stage in config.stages] == ["score"]
    assert (config.checkpoint, config.model.get("path") is not None) == (None, True)


def test_an_existing_folder_is_used_instead_of_the_bundled_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert "checkpoint=tiny" in with_settings_of_score(["score", "tiny", "a.wav"])
    assert "checkpoint='hf://me/judge@1'" in with_settings_of_score(
        ["score", "hf://me/judge@1", "a.wav"]
    )


def test_other_commands_are_unchanged_and_missing_arguments_are_named(capsys):
    assert with_settings_of_score(["stages=[score]", "input=a"]) == ["stages=[score]", "input=a"]
    for words, missing in (
        (["score"], "the judge and its clips"),
        (["score", "tiny"], "the clips"),
    ):
        with pytest.raises(ConfigError, match=f"needs {missing}"):
            with_settings_of_score(words)
    with pytest.raises(SystemExit) as end:
        with_settings_of_score(["score", "--help"])
    assert end.value.code == 0
    assert "score tiny demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    "scene", ["a" * 300, "雨夜的" * 100, "über dem Hof", "录音.wav", "~nobody_"]
)
def test_long_and_foreign_texts_are_texts_and_not_clips(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "录音.wav").touch()
    config = compose(*with_settings_of_score(["score", "tiny", "录音.wav", f"scene={scene}"]))
    assert config.input == ["录音.wav"]
    assert dict(config.texts) == {"scene": scene}


def test_a_word_that_removes_a_key_is_a_setting():
    words = ["~callbacks.early=1", "~nobody_/x=1", f"+{'a' * 300}=1"]
    assert with_settings_of_score(["score", "tiny", "demo", *words])[-3:] == words


@pytest.mark.parametrize("option", sorted(OPTIONS_WITH_VALUE))
def test_the_value_of_an_option_is_neither_a_clip_nor_a_judge(option):
    words = [option, "job", "-m"]
    expected = ["stages=[score]", "model=tiny", "input=[demo]", *words]
    assert with_settings_of_score(["score", *words, "tiny", "demo"]) == expected
    assert with_settings_of_score(["score", "tiny", "demo", *words]) == expected
    for of_command in (["tiny", *words], [*words, "tiny"]):
        served = with_settings_of_serve(["serve", *of_command])
        assert served == ["stages=[serve]", "model=tiny", *words]
    # The value may have the name of the judge.
    served = with_settings_of_serve(["serve", "tiny", option, "tiny"])
    assert served == ["stages=[serve]", "model=tiny", option, "tiny"]
