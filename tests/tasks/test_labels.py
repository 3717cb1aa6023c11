"""Label policies, compared with values computed by hand; all of them leave missing ratings out."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.raters import RaterInfo
from dramaeval.stages.builders import build_task, check_labels
from dramaeval.tasks.labels import (
    RaterWeighted,
    agreement,
    between,
    checked_policy,
    confidence_weights,
    distribution,
    learn_by_rater,
    learnt_weights,
    mean,
    median,
    sample,
    takes_weights,
    target_of_mean,
)

SCALE = (1, 2, 3, 4, 5)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("policy", "ratings", "expected"),
    [
        (distribution, [1, 1, 2, 5], [0.5, 0.25, 0, 0, 0.25]),
        (distribution, [4, None, 4, None, 5], [0, 0, 0, 2 / 3, 1 / 3]),
        (mean, [4, 4, 5, None], [0, 0, 0, 2 / 3, 1 / 3]),  # 13/3 = 4 + 1/3
        (mean, [1, 5], [0, 0, 1, 0, 0]),
        (median, [1, 2, 5, None], [0, 1, 0, 0, 0]),
        (median, [2, 3, 5, 4], [0, 0, 0.5, 0.5, 0]),  # 3.5
        (sample, [None, 2, None], [0, 1, 0, 0, 0]),
    ],
)
def test_each_policy_gives_the_target_computed_by_hand(policy, ratings, expected):
    np.testing.assert_allclose(policy(ratings, SCALE, RNG), expected, atol=1e-12)


@pytest.mark.parametrize("policy", [distribution, mean, median, sample])
def test_without_ratings_there_is_no_target(policy):
    assert policy([None, None], SCALE, RNG) is None
    assert policy([], SCALE, RNG) is None


def test_samples_have_the_frequencies_of_the_ratings():
    rng = np.random.default_rng(1)
    drawn = sum(sample([1, 1, 4, None], SCALE, rng) for _ in range(3000)) / 3000
    # 2/3 and 1/3, within four standard errors of 0.0086
    np.testing.assert_allclose(drawn, [2 / 3, 0, 0, 1 / 3, 0], atol=0.035)


def test_the_same_generator_gives_the_same_draws():
    draws = [sample([1, 2, 3, 4, 5], SCALE, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_the_distribution_on_a_pass_fail_scale():
    np.testing.assert_allclose(distribution([1, 1, 0, None], (0, 1), RNG), [1 / 3, 2 / 3])


def test_a_value_off_the_scale_is_refused():
    with pytest.raises(ValueError, match="6 lies off the scale"):
        between(6, SCALE)


@pytest.mark.parametrize(
    "scale",
    [(0.1, 0.3, 0.5, 0.7, 0.9), (0.0, 0.7), (-1.1, 0.0, 1.1), (1 / 3, 2 / 3, 1.0), (0.0, 3.3, 9.9), SCALE],
)  # fmt: skip
def test_the_mean_of_equal_ratings_at_an_end_is_that_end(scale):
    for point in (0, -1):
        expected = np.zeros(len(scale))
        expected[point] = 1
        for raters in range(1, 51):
            ratings = [scale[point]] * raters
            for weights in (None, np.linspace(0.1, 2.7, raters)):
                found = mean(ratings, scale, RNG, weights=weights)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weights", [None, [1.0, 1.0]])
def test_the_mean_of_ratings_off_the_scale_is_refused(weights):
    with pytest.raises(ValueError, match="off the scale"):
        mean([6, 7], SCALE, RNG, weights=weights)


def test_between_keeps_the_mean_on_an_uneven_scale():
    assert between(4, (0, 2, 10)) @ np.array([0, 2, 10]) == pytest.approx(4)


def test_each_policy_uses_the_weights_of_the_raters():
    kinds = ((distribution, [0.25, 0, 0, 0, 0.75]), (mean, [0, 0, 0, 1, 0]))
    for policy, expected in kinds:
        # 1 with weight 1, 5 with weight 3, and a weight of a missing rating: 1/4 · 1 + 3/4 · 5 = 4
        found = policy([1, 5, None], SCALE, RNG, weights=[1, 3, 100])
        np.testing.assert_allclose(found, expected, atol=1e-12)
    # Half of the weight is reached at 5 in the first case, and exactly between 2 and 4 in the second.
    np.testing.assert_allclose(median([1, 2, 5], SCALE, RNG, weights=[1, 1, 3]), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(median([1, 2, 4], SCALE, RNG, weights=[1, 1, 2]), [0, 0, 1, 0, 0])
    rng = np.random.default_rng(0)
    drawn = sum(sample([1, 4, None], SCALE, rng, weights=[1, 3, 9]) for _ in range(3000)) / 3000
    np.testing.assert_allclose(drawn, [0.25, 0, 0, 0.75, 0], atol=0.035)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            distribution,
            [0.2, 0.4, 0.4],
        ),  # follows from the mean and the spread, see test_mean_ratings
        (RaterWeighted(), [0.2, 0.4, 0.4]),
        (mean, [0, 0.8, 0.2]),
        (median, [0, 1, 0]),
        (
            lambda ratings, scale, rng: np.array(ratings),
            [2.2],
        ),  # a policy without weights gets the mean as its only rating
    ],
)
def test_the_target_of_a_mean_rating(policy, expected):
    found = target_of_mean(policy, 2.2, 0.56**0.5, (1, 2, 3), RNG)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_mean_rating_is_sampled_and_may_be_missing():
    rng = np.random.default_rng(0)
    drawn = sum(target_of_mean(sample, 2.2, 0.56**0.5, (1, 2, 3), rng) for _ in range(3000)) / 3000
    np.testing.assert_allclose(drawn, [0.2, 0.4, 0.4], atol=0.036)
    assert target_of_mean(distribution, None, None, (1, 2, 3), RNG) is None


def test_weights_of_named_raters_do_not_depend_on_their_order():
    rows = [(1, 2, 5), (2, 2, 3), (4, 5, 2), (5, 4, 2)]
    policy, by_name = RaterWeighted(), RaterWeighted()
    policy.learn({"field": rows})
    orders = ((0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0))
    names = ("cy", "ann", "bo")  # of positions 0, 1 and 2
    rated = [
        ([row[k] for k in order], RaterInfo(ids=tuple(names[k] for k in order)))
        for row, order in zip(rows, orders, strict=True)
    ]
    columns = learn_by_rater(by_name, {"field": [*rated, ([1, 1], RaterInfo(unknown=True))]})
    raters = [("id", "bo"), ("id", "cy"), ("id", "new")]
    found = learnt_weights(by_name, "field", columns["field"], raters)
    learnt = policy.weights["field"]
    np.testing.assert_allclose(found, [learnt[2], learnt[0], learnt.mean()])


def test_stated_confidence_is_assigned_by_the_rater_name():
    named = RaterInfo(ids=("bo", "ann"))
    raters = [("id", "ann"), ("id", "cy"), ("id", "bo")]
    assert confidence_weights(raters, (5, 2), named).tolist() == [2, 3.5, 5]
    assert confidence_weights(raters, (5, 2), RaterInfo(unknown=True)).tolist() == [1, 1, 1]


def test_unknown_raters_are_refused_or_weighted_equally(composed):
    with pytest.raises(ConfigError, match="says that raters are not known"):
        build_task(composed("task=role_all", "task.rater=consistent", "task.raters=unknown"))
    task = build_task(composed("task.raters=unknown", "task.labels=rater_weighted"))
    file = PACKAGE / "data" / "sample" / "realism" / "val.jsonl"
    records = task.read(file, reads_audio=False).records
    assert all(info == RaterInfo(unknown=True) for info in records[0].raters.values())
    task.learn(records)
    dimension = task.dimensions[0]
    expected = distribution(task.ratings(records[0], dimension), dimension.scale, RNG)
    np.testing.assert_allclose(task.target(records[0], dimension, RNG), expected)


def test_agreement_equals_the_correlation_of_scipy():
    nan = float("nan")
    table = np.array([[1, 1, 3], [2, 2, nan], [3, 3, 1], [5, nan, 2], [nan, 4, 2]])
    # Rater 1: 1, 2, 3, 5 against the others' means 2, 2, 2, 2: no variation.
    assert np.isnan(agreement(table, 0))
    # Rater 2: 1, 2, 3, 4 against 2, 2, 2, 2.
    assert np.isnan(agreement(table, 1))
    # Rater 3: 3, 1, 2, 2 against 1, 3, 5, 4.
    expected = stats.pearsonr([3, 1, 2, 2], [1, 3, 5, 4]).statistic
    assert agreement(table, 2) == pytest.approx(expected)
    assert np.isnan(agreement(table[:2], 2))  # one record is too few


def test_agreement_of_many_raters_who_each_rated_few_records():
    rng = np.random.default_rng(0)
    table = np.full((60, 12), np.nan)
    for row in table:
        row[rng.choice(12, rng.integers(1, 5), replace=False)] = rng.integers(1, 6)
        row += rng.integers(0, 2, 12)
    for rater in range(12):
        pairs = [
            (row[rater], np.mean([v for at, v in enumerate(row) if at != rater and v == v]))
            for row in table
            if row[rater] == row[rater] and np.sum(row == row) > 1
        ]
        expected = stats.pearsonr(*zip(*pairs, strict=True)).statistic
        assert agreement(table, rater) == pytest.approx(expected)


def test_raters_are_weighted_by_their_agreement():
    rows = [(1, 2, 5, None), (2, 2, 3, None), (4, 5, 2, None), (5, 4, 2, None)]
    policy = RaterWeighted()
    policy.learn({"field": rows})
    found = policy.weights["field"]
    table = np.array([[np.nan if x is None else x for x in row] for row in rows])
    for rater in (0, 1, 2):
        others = np.delete(table[:, :3], rater, axis=1).mean(axis=1)
        expected = max(0.01, stats.pearsonr(table[:, rater], others).statistic)
        assert found[rater] == pytest.approx(expected)
    assert found[2] == 0.01  # disagrees with the others, so the least weight
    assert found[3] == pytest.approx(found[:3].mean())  # never rated: the mean of the others
    policy.learn({"field": [(1, None), (2, None)]})
    assert policy.weights["field"].tolist() == [1, 1]  # undefined for all


def test_the_task_applies_learnt_weights_and_confidence(composed, make_clips):
    task = build_task(composed("task.labels=rater_weighted", "task.confidence=sure"))
    records = task.read(make_clips("a", 6)).records
    one = task.dimensions[0]
    task.learn(records)
    assert len(task.labels.weights) == 10
    task.labels.weights[one.annotation] = np.array([1, 1, 2, 1, 1, 1.0])
    ratings = {one.annotation: (1, 2, 3, None, 5, 5), "sure": (1, 2, None, 5, 3, None)}
    record = type(records[0])(**{**vars(records[0]), "ratings": ratings})
    # Confidence (a missing one is the mean of 1, 2, 5 and 3) times agreement; the fourth did not rate.
    weights = np.array([1, 2, 5.5, 0, 3, 2.75])
    expected = np.array([1, 2, 5.5, 0, 5.75]) / weights.sum()
    np.testing.assert_allclose(task.target(record, one, RNG), expected)
    without_confidence = type(record)(
        **{**vars(record), "ratings": {**ratings, "sure": (None,) * 6}}
    )
    equal_weights = np.array([1, 1, 2, 0, 2]) / 6
    np.testing.assert_allclose(task.target(without_confidence, one, RNG), equal_weights)
    without_ratings = type(record)(**{**vars(record), "ratings": {one.annotation: (None,) * 6}})
    assert task.target(without_ratings, one, RNG) is None


def test_confidence_is_read_from_the_sample(composed):
    task = build_task(composed("task.confidence=annotator_confidence_rating"))
    record = task.read(PACKAGE / "data" / "sample" / "realism" / "val.jsonl").records[0]
    stated = record.fields["annotations"]["annotator_confidence_rating"]
    assert record.ratings["annotator_confidence_rating"] == tuple(stated)


def test_a_policy_without_weights_cannot_take_confidence(composed):
    assert takes_weights(median)
    assert not takes_weights(lambda ratings, scale, rng: None)
    override = (
        "+task.label_policies.own={_target_: dramaeval.tasks.labels.between, _partial_: true}"
    )
    with pytest.raises(ConfigError, match="takes no weights"):
        build_task(composed(override, "task.labels=own", "task.confidence=sure"))


def test_more_raters_than_were_learnt_about_count_as_the_mean(composed, make_clips):
    task = build_task(composed("task.labels=rater_weighted", "task.dimensions=[pitch_dynamics]"))
    (one,) = task.dimensions
    records = task.read(make_clips("few", 8)).records
    few = [replace(r, ratings={k: v[:3] for k, v in r.ratings.items()}) for r in records]
    task.learn(few)
    weights = task.labels.weights[one.annotation]
    assert len(weights) == 3
    target = task.target(records[0], one, np.random.default_rng(0))
    shares = np.array([*weights, *[weights.mean()] * 3])
    ratings = np.array(records[0].ratings[one.annotation])
    expected = [shares[ratings == score].sum() / shares.sum() for score in one.scale]
    np.testing.assert_allclose(target, expected)


def _fails(ratings, scale, rng):
    return ratings[0] / 0


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (
            lambda ratings, scale, rng: [1.0, 0.0, 0.0],
            r"returned \[1.0, 0.0, 0.0\] for the ratings \[4, 5\]",
        ),
        (lambda ratings, scale, rng: [0.0, 0.0, 0.0, 1.0, 1.0], "5 shares"),
        (lambda ratings, scale, rng: [0.0] * 5, "5 shares"),
        (lambda ratings, scale, rng: [-0.5, 0.0, 0.0, 0.0, 1.5], "5 shares"),
        (lambda ratings, scale, rng: [float("nan")] * 5, "5 shares"),
        (lambda ratings, scale, rng: np.eye(5), "5 shares"),
        (lambda ratings, scale, rng: 4.5, "returned 4.5 for"),
        (lambda ratings, scale, rng: "4", "returned '4' for"),
        (lambda ratings, scale, rng: [None] * 5, "5 shares"),
        (
            _fails,
            r"_fails raised ZeroDivisionError: division by zero \(.*test_labels.py:\d+\) for the ratings",
        ),
    ],
)
def test_a_policy_of_the_user_that_returns_no_distribution_is_refused(policy, problem):
    with pytest.raises(ConfigError, match=f"task.labels: {__name__}.*{problem}"):
        checked_policy(policy)([4, 5], [1, 2, 3, 4, 5], np.random.default_rng(0))


def test_a_checked_policy_is_the_policy():
    def weighted(ratings, scale, rng, weights=None):
        return between(5.0 if weights is None else float(np.dot(ratings, weights)), scale)

    checked = checked_policy(weighted)
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(checked([4], [1, 2, 3, 4, 5], generator), [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(
        checked([2, 4], [1, 2, 3, 4, 5], generator, weights=[0.5, 0.5]), [0, 0, 1, 0, 0]
    )
    assert takes_weights(checked)
    assert not takes_weights(checked_policy(_fails))
    assert checked_policy(checked) is checked
    assert checked_policy(lambda *_: None)([4], [1, 2], generator) is None
    assert pickle.loads(pickle.dumps(checked_policy(_fails))).policy is _fails
    for own in (distribution, RaterWeighted(), partial(distribution), None):
        assert checked_policy(own) is own


def _forgets_to_return(ratings, scale, rng):
    distribution(ratings, scale, rng)


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("_fails", "_fails raised ZeroDivisionError"),
        ("_forgets_to_return", "returns None for every rating"),
    ],
)
def test_a_failing_policy_stops_before_weights_load(composed, policy, problem):
    config = composed(
        "task=role",
        "task.labels=mine",
        f"+task.label_policies.mine={{_target_: {__name__}.{policy}, _partial_: true}}",
    )
    task = build_task(config)
    records = task.read(PACKAGE / "data" / "sample" / "realism" / "val.jsonl").records
    with pytest.raises(ConfigError, match=problem):
        check_labels(task, records)
    check_labels(build_task(composed("task=role")), records)
