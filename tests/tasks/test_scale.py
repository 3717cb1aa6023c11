"""Scales of numbers, ranges, labels and bins, and the prompts that name them."""

import pytest

from dramaeval.data.record_format import RecordFormat, check_annotations
from dramaeval.tasks.few_shot import example_scores
from dramaeval.tasks.rubric import RubricError, read_rubric


def rubric_of(**changes):
    dimension = {
        "key": "naturalness", "annotation": "naturalness", "title": "Naturalness",
        "description": "How natural it sounds.", **changes,
    }  # fmt: skip
    return read_rubric({"name": "test", "version": "1", "dimensions": [dimension]})


@pytest.mark.parametrize(
    ("changes", "points", "answers", "lines"),
    [
        ({"scale": [1, 2, 3], "scores": {1: "bad", 3: "good"}},
         (1, 2, 3), ("1", "2", "3"), "1: bad\n3: good\n"),
        ({"scale": [1, 1.5, 2.0], "scores": {2: "good", "1": "bad"}},
         (1, 1.5, 2), ("1", "1.5", "2"), "1: bad\n2: good\n1 | 1.5 | 2\n"),
        ({"scale": {"from": 0, "to": 10}}, tuple(range(11)), tuple(map(str, range(11))), ""),
        ({"scale": {"from": 0, "to": 0.3, "step": 0.1}},
         (0, 0.1, 0.2, 0.3), ("0", "0.1", "0.2", "0.3"), "0 | 0.1 | 0.2 | 0.3\n"),
        ({"scale": [-1, 0, 1]}, (-1, 0, 1), ("-1", "0", "1"), ""),
        ({"scale": ["poor", "fair", "good"], "scores": {"fair": "audible faults"}},
         (1, 2, 3), ("poor", "fair", "good"), "fair: audible faults\npoor | fair | good\n"),
        ({"scale": {"from": 0, "to": 100}, "bins": 5, "scores": {0: "silent", 50: "speech"}},
         (0, 25, 50, 75, 100), tuple("12345"),
         "1: 0, silent\n2: 25\n3: 50, speech\n4: 75\n5: 100\n"),
    ],
)  # fmt: skip
def test_each_kind_of_scale_has_its_points_answers_and_prompt(changes, points, answers, lines):
    rubric = rubric_of(**changes)
    (dimension,) = rubric.dimensions
    assert (dimension.scale, dimension.answers) == (points, answers)
    assert rubric.criterion(dimension) == (
        f"Naturalness: How natural it sounds.\n{lines}"
        f"Answer with one score from {answers[0]} to {answers[-1]} as <answer>score</answer>."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": {"from": 0, "to": 10, "step": 3}}, "in whole steps of 3"),
        ({"scale": {"from": 5, "to": 1}}, "choose a positive step"),
        ({"scale": {"from": 0, "to": 1, "by": 1}}, "the numbers from, to and optionally step"),
        ({"scale": {"from": 0, "to": 1000}}, "1001 points, at most 201"),
        ({"scale": ["good", "good"]}, "the same label twice"),
        ({"scale": ["good", " "]}, "white space"),
        ({"scale": ["good", "N/A"]}, "stands for a missing rating"),
        ({"scale": ["1", "2.5"]}, "numbers in quotes"),
        ({"scale": ["a", "b"], "bins": 2}, "bins has no meaning for labels"),
        ({"scale": [1, 2, 4], "bins": 2}, "an evenly spaced scale"),
        ({"scale": [1, 2, 3], "bins": 3}, "from 2 to 2"),
        ({"scale": {"from": 0, "to": 100}, "bins": 5, "scores": {10: "x"}},
         "explains [10], which are no scores of 0 | 25 | 50 | 75 | 100"),
        ({"scale": [1, float("nan")]}, "at least two numbers"),
        ({"scale": [True, 2]}, "at least two numbers"),
    ],
)  # fmt: skip
def test_a_scale_that_cannot_be_used_is_refused(changes, message):
    with pytest.raises(RubricError) as raised:
        rubric_of(**changes)
    assert message in str(raised.value)


def checked(rating, **changes):
    (dimension,) = rubric_of(**changes).dimensions
    fmt = RecordFormat(text_fields=(), annotation_fields=(dimension.annotation_field,))
    return check_annotations({"annotations": {"naturalness": rating}}, fmt)


def problems(rating, **changes):
    return [finding.problem for finding in checked(rating, **changes).findings]


def test_ratings_between_points_are_valid_on_fractional_and_binned_scales_only():
    slider = {"scale": {"from": 0, "to": 100}, "bins": 9}
    assert problems([1.5], scale=[1, 2]) == ["not a whole number: 1.5 (rater 1)"]
    assert not problems([1.5], scale=[1, 1.5, 2])
    assert not problems([57.5], **slider)
    assert problems([100.5], **slider)
    # On the bins alone (0, 12.5, …) ratings with the mean 6 have a spread of at least 6.2.
    assert not problems({"mean": 6, "std": 0.5}, **slider)
    assert problems({"mean": 1.5, "std": 0.1}, scale=[1, 2])
    # Of ratings from 0 to 100 with the mean 6 the largest variance is 6 · 94, that of 23.7.
    assert problems({"mean": 6, "std": 24}, **slider)


def test_ratings_may_be_labels_or_their_numbers():
    scale = ["poor", "fair", "good"]
    read = checked(["good", 1, "poor", None, "N/A"], scale=scale)
    assert read.ratings == {"naturalness": (3.0, 1.0, 1.0, None, None)}
    assert not read.converted
    (finding,) = checked(["Good"], scale=scale).findings
    assert finding.problem == "not a label of the scale: 'Good' (rater 1)"
    assert finding.fix == "use poor | fair | good, or 1 to 3"
    assert checked([1.0, 1.5], scale=[1, 1.5, 2]).converted == {}
    assert checked([1.0], scale=[1, 2]).converted.total() == 1


def test_examples_show_the_answer_of_the_nearest_score():
    (dimension,) = rubric_of(scale=["poor", "fair", "good"]).dimensions
    text = "People gave example 1 <answer>fair</answer>, example 2 <answer>good</answer>."
    assert example_scores([[1.0, 2.0], [3.0]], dimension) == text
