"""``dramaeval score RUN CLIP … NAME=TEXT …`` is translated to ``stages=[score]`` and settings."""

from __future__ import annotations

import pytest

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.score_command import with_settings_of_score


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
