"""Multiple-choice records: how they are read and asked, their problems, and the records of the sample."""

import json
from collections import Counter

import numpy as np
import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.builders import build_task
from dramaeval.stages.checks import check
from recipes.sample.questions import KINDS, PARTS, build

SAMPLE = PACKAGE / "data" / "sample"


@pytest.fixture
def task(composed):
    return build_task(composed("task=avqa"))


@pytest.fixture
def write_questions(make_clips, tmp_path):
    def build(*changes):
        clips = [json.loads(x)["wav_path"] for x in make_clips("q", 1).read_text().splitlines()]
        line = {
            "id": 7, "question_text": "Who speaks?", "multi_choice": ["a woman", " a man "],
            "answer": 1, "audio_path": clips[0], "question_type": "voice",
        }  # fmt: skip
        file = tmp_path / "questions.jsonl"
        lines = [{**line, "id": at, **change} for at, change in enumerate(changes)]
        file.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return file

    return build


def test_the_question_lists_the_options(task, write_questions):
    (record,) = task.read(write_questions({})).records
    (question,) = task.questions(record, task.dimensions)
    assert question.messages[1]["content"][1]["text"] == (
        "Who speaks?\n- a woman\n- a man\nAnswer with the text of the right one as <answer>text</answer>."
    )
    assert question.solution((1,)) == "<answer>a man</answer>"
    target = task.target(record, task.dimensions[0], np.random.default_rng(0))
    assert target.tolist() == [0, 1]
    assert task.category(record) == "voice"
    assert task.rated_dimensions == ()


def test_all_problems_are_reported_together(task, write_questions):
    file = write_questions(
        {"multi_choice": None}, {"multi_choice": ["one"]}, {"multi_choice": ["a", " A"]},
        {"multi_choice": ["a", " "]}, {"answer": 2}, {"answer": True}, {"answer": None},
        {"question_text": ""}, {"audio_path": "gone.wav"}, {"multi_choice": "a, b"},
    )  # fmt: skip
    with pytest.raises(BadRecordsError) as raised:
        task.read(file)
    found = {(one.line, one.key): one.problem for one in raised.value.problems}
    assert found[1, "multi_choice"] == "missing"
    assert found[2, "multi_choice"] == "fewer than two options"
    assert found[3, "multi_choice"] == "the same option twice: a"
    assert found[4, "multi_choice"] == "an empty option"
    assert found[5, "answer"] == "2 is not the number of an option"
    assert found[6, "answer"] == "True is not the number of an option"
    assert found[7, "answer"] == "missing"
    assert found[8, "question_text"] == "empty text"
    assert (9, "audio_path") in found
    assert found[10, "multi_choice"] == "not a list of texts"
    assert len(found) == 10


def test_an_answer_may_be_missing_where_records_are_only_scored(task, write_questions):
    (record,) = task.read(write_questions({"answer": None}), annotated=False).records
    assert task.ratings(record, task.dimensions[0]) == ()
    assert task.target(record, task.dimensions[0], np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.scoring=[generation]"], "must hold likelihood"),
        (["task.scoring=[likelihood,guess]"], "guess is not known"),
        (["task.answer_tokens=0"], "task.answer_tokens=0"),
        (["+task.prompt_layout=criteria_first"], "task.prompt_layout has no effect"),
        (["+task.confidence=x"], "task.confidence has no effect"),
        (["~task.rubric.option_line"], "task.rubric.option_line is missing"),
    ],
)
def test_wrong_settings_are_refused(composed, overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_task(composed("task=avqa", *overrides))


def test_the_best_checkpoint_is_chosen_by_accuracy(composed):
    config = composed("task=avqa")
    check(config)
    assert config.trainer.args.metric_for_best_model == "accuracy"
    assert composed("task=role").trainer.args.metric_for_best_model == "pearson"


def test_the_questions_of_the_sample_are_those_of_its_manifest(task, tmp_path):
    """Building the questions again gives the same records, and each answer agrees with the manifest."""
    build(tmp_path / "avqa", SAMPLE / "realism", say=lambda text: None)
    manifest = {}
    for line in (SAMPLE / "realism" / "manifest.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        manifest[entry["id"]] = entry
    clips = Counter()
    for part, count in PARTS.items():
        shipped = [
            json.loads(x) for x in (SAMPLE / "avqa" / f"{part}.jsonl").read_text().splitlines()
        ]
        rebuilt = [
            json.loads(x) for x in (tmp_path / "avqa" / f"{part}.jsonl").read_text().splitlines()
        ]
        for one, other in zip(shipped, rebuilt, strict=True):
            assert {**one, "audio_path": ""} == {**other, "audio_path": ""}
        records = task.read(SAMPLE / "avqa" / f"{part}.jsonl").records
        assert len({record.clip for record in records}) == count
        assert {task.category(record) for record in records} == set(KINDS)
        for record in records:
            entry = manifest[record.clip.stem]
            assert record.clip.stem.startswith(f"realism_{part}_")
            clips[record.clip.stem] += 1
            right_option = task.options(record)[int(task.ratings(record, task.dimensions[0])[0])]
            if task.category(record) == "voice":
                assert ("woman" in right_option) == ("_woman_" in entry["delivery"]["voice"])
            if task.category(record) == "words":
                assert int(right_option) == len(entry["text"].replace("-", " ").split())
    assert set(clips.values()) == {3}


def test_the_right_option_has_no_fixed_position_or_rank(task):
    records = task.read(SAMPLE / "avqa" / "train.jsonl").records
    positions = Counter(record.fields["answer"] for record in records)
    assert set(positions) == {0, 1, 2, 3, 4}
    words = [one.fields for one in records if one.fields["question_type"] == "words"]
    ranks = Counter(
        sorted(map(int, one["multi_choice"])).index(int(one["multi_choice"][one["answer"]]))
        for one in words
    )
    assert max(ranks.values()) < len(words) * 0.7
