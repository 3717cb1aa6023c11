"""task.listeners: whose ratings an example trains, and the line of its prompt that names the rater."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.data.raters import UNKNOWN_RATERS, RaterInfo
from dramaeval.data.records import Record
from dramaeval.stages.builders import build_task, check_listeners, trained_raters
from dramaeval.tasks.listeners import listener_line
from dramaeval.tasks.rubric import RubricError, read_rubric
from dramaeval.training.question_sampler import sample_questions, training_record

NAMED = RaterInfo(ids=("ann", "bob", "cy"))


def record(values=(2.0, 5.0, None), info=NAMED, **ratings):
    given = {"naturalness": tuple(values), **ratings}
    return Record(
        id="a",
        file=Path("a.jsonl"),
        line=1,
        clip=Path("a.wav"),
        seconds=1.0,
        fields={},
        ratings=given,
        raters=dict.fromkeys(given, info),
    )


def speech(*overrides):
    return build_task(compose("task=speech", *overrides))


def prompt_and_target(task, of, epoch, number=0):
    """The text of the user message and the target of one training example."""
    drawn_record = training_record(task, of, (0, epoch, number))
    dimensions, targets = sample_questions(task, drawn_record, (0, epoch, number))
    (question,) = task.questions(drawn_record, dimensions)
    return question.messages[1]["content"][1]["text"], targets["naturalness"].distribution


def test_a_prompt_that_names_a_rater_has_the_rating_of_this_rater_as_target():
    task = speech("task.listeners=embed")
    lines, count = Counter(), 400
    for epoch in range(count):
        text, target = prompt_and_target(task, record(), epoch)
        (line,) = (line for line in text.splitlines() if line.startswith("Rating wanted"))
        lines[line] += 1
        expected = {
            'Rating wanted: that of rater "ann".': [0, 1, 0, 0, 0],
            'Rating wanted: that of rater "bob".': [0, 0, 0, 0, 1],
            "Rating wanted: the mean of all raters.": [0, 0.5, 0, 0, 0.5],
        }[line]
        np.testing.assert_allclose(target, expected)
    # The mean in one half, ann and bob in a quarter each (within four standard errors); cy gave no rating.
    shares = [lines["Rating wanted: the mean of all raters."], *sorted(lines.values())[:2]]
    np.testing.assert_allclose(np.array(shares) / count, [0.5, 0.25, 0.25], atol=0.1)


def test_all_dimensions_of_an_example_have_the_ratings_of_one_rater():
    task = build_task(compose("task=role_all", "task.listeners=embed"))
    fields = [dimension.annotation for dimension in task.dimensions]
    texts = {"char_age": "a", "char_style": "b", "char_profile": "c", "local_scene": "d"}
    rated = record((), RaterInfo(ids=("ann", "bob")), **dict.fromkeys(fields, (2.0, 4.0)))
    rated = type(rated)(**{**vars(rated), "fields": {**texts, "transcript": "e"}})
    written = set()
    for epoch in range(40):
        drawn_record = training_record(task, rated, (0, epoch, 0))
        _, targets = sample_questions(task, drawn_record, (0, epoch, 0))
        if drawn_record.listener:
            scores = {int(np.argmax(target.distribution)) + 1 for target in targets.values()}
            written.add((drawn_record.listener, *scores))
    assert written == {("ann", 2), ("bob", 4)}


def test_in_scoring_the_prompt_asks_for_the_mean_of_all_raters():
    task = speech("task.listeners=embed")
    for rated in (record(), record(info=UNKNOWN_RATERS)):
        (question,) = task.questions(rated, task.dimensions)
        text = question.messages[1]["content"][1]["text"]
        assert text.startswith("Rating wanted: the mean of all raters.\n")
    plain = speech()
    (question,) = plain.questions(record(), plain.dimensions)
    assert "Rating wanted" not in question.messages[1]["content"][1]["text"]
    rated = record()
    assert training_record(plain, rated, (0, 0, 0)) is rated


@pytest.mark.parametrize(
    "info", [UNKNOWN_RATERS, RaterInfo(mean_only=True)], ids=["unknown", "mean"]
)
def test_a_record_without_named_raters_is_trained_as_the_mean(info):
    task = speech("task.listeners=embed")
    values = (3.0,) if info.mean_only else (2.0, 4.0)
    texts = {prompt_and_target(task, record(values, info), epoch)[0] for epoch in range(20)}
    assert len(texts) == 1
    assert "the mean of all raters" in texts.pop()
    check_listeners(task, [record(), record(values, info)])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record(), record(info=RaterInfo())], r"1 of 2 training records \(the first: a.jsonl:1\)"),
        ([record(info=UNKNOWN_RATERS)], "no training record has them"),
    ],
    ids=["positions", "nobody"],
)
def test_raters_without_names_are_refused(records, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        check_listeners(speech("task.listeners=embed"), records)
    assert '"raters": ["rater17", "rater3"]' in str(refusal.value)
    check_listeners(speech(), records)


@pytest.mark.parametrize(
    ("override", "fix"),
    [("task.shots=1", "set task.shots=0"), ("task.raters=unknown", "set task.listeners=none")],
)
def test_contradicting_settings_are_refused(override, fix):
    with pytest.raises(ConfigError, match=fix):
        speech("task.listeners=embed", override)


def test_names_of_raters_are_among_the_checked_texts_of_the_prompt():
    assert speech("task.listeners=embed").texts(record())["raters.bob"] == "bob"
    assert speech().texts(record()) == {}


RUBRIC = {
    "name": "r",
    "version": "1",
    "dimensions": [
        {
            "key": "naturalness",
            "annotation": "naturalness",
            "title": "N",
            "description": "D",
            "scale": [1, 2],
        }
    ],
}


@pytest.mark.parametrize(
    ("texts", "mean", "named"),
    [
        ({}, "Rating wanted: the mean of all raters.", 'Rating wanted: that of rater "a{b".'),
        ({"language": "zh"}, "所需评分：所有评分者的平均评分。", '所需评分：评分者"a{b"的评分。'),
        (
            {"language": "de", "mean_rater_line": "Mittel.", "rater_line": "Von {rater}."},
            "Mittel.",
            'Von "a{b".',
        ),
        (
            {"language": "fr"},
            "Rating wanted: the mean of all raters.",
            'Rating wanted: that of rater "a{b".',
        ),
    ],
    ids=["english", "chinese", "own lines", "no translation"],
)
def test_the_line_is_in_the_language_of_the_rubric(texts, mean, named):
    rubric = read_rubric({**RUBRIC, **texts})
    assert listener_line(record(), rubric) == mean
    assert listener_line(replace(record(), listener="a{b"), rubric) == named


@pytest.mark.parametrize("line", ["Rater", "{rater} {other}", "{rater", "{}"])
def test_a_line_that_does_not_name_the_rater_is_refused(line):
    with pytest.raises(RubricError, match=r"rubric\.rater_line .*\{rater\}"):
        read_rubric({**RUBRIC, "rater_line": line})


def test_the_raters_of_a_training_are_those_who_gave_a_rating():
    records = [record(), record((3.0,), RaterInfo(ids=("dan",))), record(info=UNKNOWN_RATERS)]
    assert trained_raters(speech("task.listeners=embed"), records) == {"ann", "bob", "dan"}
    assert trained_raters(speech(), records) == set()
