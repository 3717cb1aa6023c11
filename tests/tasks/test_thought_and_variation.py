"""Thoughts that precede an answer, and phrasings of a question: their number, their texts and how they are drawn."""

import re
from collections import Counter

import numpy as np
import pytest
import yaml
from repository import ROOT

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.stages.builders import build_task
from dramaeval.tasks.wordings import PhrasingsError, check_parts, phrasings

SAMPLE = PACKAGE / "data" / "sample" / "realism" / "val.jsonl"
PARTS = yaml.safe_load((ROOT / "configs/task/phrasings/realism.yaml").read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "key"), [("role_caption", "audio_caption"), ("role_emotion", "emotion_caption")]
)
def test_in_training_the_solution_begins_with_the_thought_of_the_record(composed, name, key):
    task = build_task(composed(f"task={name}"))
    records = task.read(SAMPLE).records
    rng = np.random.default_rng(0)
    for record in records[:5]:
        for question in task.questions(record, task.dimensions[:2], rng):
            text = record.fields["audio_info"][key]
            assert question.solution((3,)) == f"<think>{text}</think>\n<answer>4</answer>"
            assert not question.generates_thought
    assert task.remarks(records) == {}
    assert task.scoring()["thought_in_scoring"] == "generate"


def test_records_without_a_thought_are_counted_and_have_plain_questions(composed, make_clips):
    task = build_task(composed("task=role_caption"))
    records = task.read(make_clips("a", 3)).records
    (question,) = task.questions(records[0], task.dimensions[:1], np.random.default_rng(0))
    assert question.solution((0,)) == "<answer>1</answer>"
    (remark,) = task.remarks(records)
    assert "audio_info.audio_caption" in remark
    assert task.remarks(records)[remark] == 3


def test_thought_in_scoring_sets_whether_a_thought_is_generated_or_given(composed):
    for setting, generates, lead in (
        ("generate", True, "<answer>"),
        ("skip", False, "<answer>"),
        ("given", False, "<think>"),
    ):
        task = build_task(composed("task=role_emotion", f"task.thought_in_scoring={setting}"))
        record = task.read(SAMPLE).records[0]
        (question,) = task.questions(record, task.dimensions[:1])
        assert question.generates_thought == generates
        assert question.answer_fields[0].lead.startswith(lead)
        assert (task.max_written_tokens(record) > 0) == generates
    with pytest.raises(ConfigError, match="choose one of generate, given, skip"):
        build_task(composed("task=role_emotion", "task.thought_in_scoring=guess"))


def test_the_settings_of_sampled_thoughts_are_used_in_scoring_only(composed):
    task = build_task(
        composed("task=role_emotion", "task.thought_samples=4", "task.thought_temperature=0.5")
    )
    record = task.read(SAMPLE).records[0]
    (question,) = task.questions(record, task.dimensions[:1])
    sampling = question.thought_sampling
    assert (sampling.samples, sampling.temperature, sampling.seed) == (4, 0.5, 0)
    (trained,) = task.questions(record, task.dimensions[:1], np.random.default_rng(0))
    assert trained.thought_sampling is None
    assert task.scoring() == {
        "thought": "audio_info.emotion_caption", "thought_in_scoring": "generate",
        "thought_samples": 4, "thought_temperature": 0.5, "thought_seed": 0,
    }  # fmt: skip
    assert build_task(composed("task=role_emotion")).thought_sampling is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("thought_samples=0",), "thought_samples=0 must be 1 or more"),
        (("thought_temperature=0",), "thought_temperature=0.* must be above 0"),
        (("thought_temperature=nan",), "thought_temperature=nan must be above 0"),
        (("thought_seed=-1",), "thought_seed=-1 must be 0 or more"),
        (
            ("thought_samples=2", "thought_in_scoring=given"),
            "needs task.thought_in_scoring=generate",
        ),
    ],
)
def test_unsupported_sampling_is_refused(composed, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_task(composed("task=role_emotion", *(f"task.{each}" for each in settings)))


def test_each_dimension_has_forty_distinct_phrasings(composed):
    task = build_task(composed("task=role_variation"))
    assert len(task.worded) == 10
    for one in task.dimensions:
        texts = task.worded[one.key]
        assert len(set(texts)) == len(texts) == 40 >= 30
        assert texts[0] == task.rubric.criterion(one)
        # Each phrasing has the title, the meaning of each score and the form of the answer.
        for text in texts:
            assert one.title in text
            assert all(meaning in text for meaning in one.scores.values())
            assert "<answer>" in text
            assert re.search(r"1.{1,5}5", text.splitlines()[-1])
        assert len({text.splitlines()[0] for text in texts}) >= 8


def test_phrasings_follow_from_the_seed_and_fewer_are_the_first_of_more(composed):
    task = build_task(composed())
    one = task.dimensions[0]
    forty = phrasings(task.rubric, one, PARTS, 40, seed=1)
    assert phrasings(task.rubric, one, PARTS, 40, seed=1) == forty
    assert phrasings(task.rubric, one, PARTS, 31, seed=1) == forty[:31]
    assert phrasings(task.rubric, one, PARTS, 40, seed=2)[1:] != forty[1:]


def test_equal_phrasings_are_dropped(composed):
    task = build_task(composed())
    few = {"headers": ["{title}"] * 50, "scales": ["{score}"], "closings": ["?"]}
    check_parts(few, task.rubric)
    with pytest.raises(PhrasingsError, match="only 2 distinct phrasings of pitch_dynamics"):
        phrasings(task.rubric, task.dimensions[0], few, 30, seed=0)


def test_all_problems_of_the_parts_of_phrasings_are_reported(composed):
    bad = {
        "headers": ["{titel}"], "scales": [], "closings": ["{low"], "extra": 1,
        "descriptions": {"warmth": ["x"]},
    }  # fmt: skip
    with pytest.raises(PhrasingsError) as raised:
        check_parts(bad, build_task(composed()).rubric)
    for message in (
        "headers[0] holds {titel}; it may hold {title}, {description}",
        "scales is missing",
        "closings[0]",
        "extra is not known",
        "descriptions.warmth: the rubric realism has no such dimension",
    ):
        assert message in str(raised.value)


def test_training_draws_wordings_and_scoring_takes_the_first(composed, make_clips):
    task = build_task(composed("task=role_variation", "task.wordings_in_scoring=5"))
    (record,) = task.read(make_clips("a", 1)).records
    one = task.dimensions[0]
    assert [q.wording for q in task.questions(record, [one])] == [0, 1, 2, 3, 4]
    rng = np.random.default_rng(0)
    drawn = Counter(task.questions(record, [one], rng)[0].wording for _ in range(2000))
    assert len(drawn) == 40
    assert max(drawn.values()) < 50 + 5 * 7  # five standard deviations
    with pytest.raises(ConfigError, match="must be 30 or more"):
        build_task(composed("task=role_variation", "task.wordings=29"))
    with pytest.raises(ConfigError, match=r"between 1 and task\.wordings=40"):
        build_task(composed("task=role_variation", "task.wordings_in_scoring=41"))


def test_wordings_and_thoughts_work_together(composed, make_clips):
    overrides = ("task=role_variation_caption", "task.wordings_in_scoring=3")
    task = build_task(composed(*overrides))
    (record,) = task.read(make_clips("a", 1)).records
    record.fields["audio_info"] = {"audio_caption": "A flat voice."}
    one = task.dimensions[0]
    scored = task.questions(record, [one])
    assert [question.wording for question in scored] == [0, 1, 2]
    assert all(question.generates_thought for question in scored)
    assert len({question.messages[-1]["content"][1]["text"] for question in scored}) == 3
    rng = np.random.default_rng(0)
    trained = [task.questions(record, [one], rng)[0] for _ in range(200)]
    assert len({question.wording for question in trained}) > 30
    assert {question.answer_fields[0].lead for question in trained} == {
        "<think>A flat voice.</think>\n<answer>"
    }
    assert task.scoring() == {
        "wordings_in_scoring": 3, "thought": "audio_info.audio_caption", "thought_in_scoring": "generate",
    }  # fmt: skip
    assert build_task(composed("task=role_variation_caption")).wordings_in_scoring == 1
