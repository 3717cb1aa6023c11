"""Few-shot examples: they follow from the seed, share no group with the record, and show clips and scores."""

import json
import shutil
from dataclasses import replace

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.data.records import read_records
from dramaeval.data.shared_content import group_of
from dramaeval.stages.builders import attach_examples, build_task
from dramaeval.stages.checks import check


@pytest.fixture
def prepared(composed, make_clips):
    """A function that gives a task with examples, its training records and its test records."""

    def build(*overrides, seed=0):
        task = build_task(composed("task.shots=3", *overrides))
        train = read_records(make_clips("train", 12), task.record_format()).records
        test = read_records(make_clips("test", 4, seed=1), task.record_format()).records
        task.show_examples(train, seed)
        return task, train, test

    return build


def test_examples_follow_from_the_seed_and_the_record(prepared):
    task, _, test = prepared()
    again, _, _ = prepared()
    other, _, _ = prepared(seed=1)

    def ids(of):
        return [[one.id for one in of.examples(record)] for record in test]

    assert all(len(set(shown_ids)) == 3 for shown_ids in ids(task))
    assert ids(task) == ids(again)
    assert ids(task) != ids(other)
    assert len({tuple(shown_ids) for shown_ids in ids(task)}) > 1


def test_no_example_shares_character_scene_or_clip(prepared):
    task, train, _ = prepared()
    for record in train:
        for example in task.examples(record):
            assert example.id != record.id
            for key in ("character", "scene"):
                assert group_of(example, key) != group_of(record, key)


def test_a_copy_of_the_judged_clip_is_not_shown_as_an_example(prepared):
    task, train, test = prepared("task.shots=11")
    copied_clip = train[5].clip.with_name("twin.wav")
    shutil.copy(train[5].clip, copied_clip)
    record = replace(test[0], clip=copied_clip)
    assert train[5].id not in [one.id for one in task.examples(record)]
    assert len(task.examples(record)) == 11


def test_the_prompt_shows_examples_before_the_question(prepared):
    task, _, test = prepared()
    record, dimension = test[0], task.dimensions[0]
    user = task.messages(record, dimension)[-1]["content"]
    clips = [part["audio_url"] for part in user if part["type"] == "audio"]
    examples = task.examples(record)
    assert clips == [str(one.clip) for one in (*examples, record)]
    text = "\n".join(part["text"] for part in user if part["type"] == "text")
    assert text.index(examples[0].fields["transcript"]) < text.index(record.fields["transcript"])
    for number, example in enumerate(examples, 1):
        ratings = [value for value in task.ratings(example, dimension) if value is not None]
        # The mean rounded to the nearest score; a half is rounded up.
        score = int(sum(ratings) / len(ratings) + 0.5)
        assert f"example {number} <answer>{score}</answer>" in text
    for rating in record.ratings.values():
        assert str(list(rating)) not in text


def test_without_shots_the_prompt_is_unchanged(prepared, composed):
    task, _, test = prepared("task.shots=0")
    plain = build_task(composed())
    assert task.messages(test[0], task.dimensions[0]) == plain.messages(
        test[0], plain.dimensions[0]
    )


def test_examples_are_rated_on_every_dimension(composed, make_clips):
    file = make_clips("train", 6)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[:3]:
        line["annotations"]["dynamic_range"] = [None] * 6
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = build_task(composed("task.shots=2"))
    train = read_records(file, task.record_format()).records
    task.show_examples(train, 0)
    assert {one.id for one in task.examples(train[0])} <= {"train-3", "train-4", "train-5"}
    with pytest.raises(ValueError, match="3 of 6 training records are rated on every dimension"):
        build_task(composed("task.shots=4")).show_examples(train, 0)


def test_too_few_examples_stop_the_run_with_a_message(composed, make_clips):
    task = build_task(composed("task.shots=6"))
    train = read_records(make_clips("train", 6), task.record_format()).records
    with pytest.raises(ConfigError, match=r"task\.shots=6, but only 4 training records"):
        attach_examples(task, {"train": train}, 0)
    config = composed("task.shots=1", "task.data.test=x.jsonl", "stages=[evaluate]")
    with pytest.raises(ConfigError, match=r"takes its examples from task\.data\.train"):
        check(config)
