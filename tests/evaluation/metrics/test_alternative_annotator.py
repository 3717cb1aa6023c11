"""The alternative annotator test, compared with values by hand and with the procedure of the paper."""

import math

import numpy as np
import pytest
from scipy import stats

from dramaeval.evaluation.metrics.alternative_annotator import alternative_annotator_test
from dramaeval.evaluation.metrics.metric import UndefinedError

NAN = float("nan")


def test_the_test_with_two_raters_by_hand() -> None:
    # Thirty records: A rates 1, B and the judge 3. Without A, the judge equals B and wins. Without B, the judge and B
    # both differ from A by 2, which is a tie. Ten records: A and B rate 2, the judge 5.
    ratings = np.array([[1, 3]] * 30 + [[2, 2]] * 10, dtype=float)
    predicted = np.array([3] * 30 + [5] * 10, dtype=float)
    test = alternative_annotator_test(predicted, ratings, epsilon=0.15)
    # A: W_rater - W_judge is -1 thirty times and 1 ten times: mean -1/2, Σd² = 40,
    # s² = (40 - 40/4)/39 = 30/39.  B: 0 thirty times, 1 ten times: mean 1/4, s² = 7.5/39.
    p_a = stats.t.cdf((-0.5 - 0.15) / math.sqrt(30 / 39 / 40), df=39)
    p_b = stats.t.cdf((0.25 - 0.15) / math.sqrt(7.5 / 39 / 40), df=39)
    # Benjamini-Yekutieli with m = 2: p(1)·2·(1 + 1/2)/1 and p(2)·2·(1 + 1/2)/2, at most 1.
    assert test["p_values"] == pytest.approx((p_a * 3, min(1, p_b * 1.5)))
    assert test["winning_rate"] == 1 / 2  # A is beaten, B is not
    assert test["advantage_probability"] == pytest.approx(
        30 / 40
    )  # for both raters: as close in 30 of 40 records
    assert test["passed"]
    assert (test["raters_tested"], test["raters_skipped"]) == (2, 0)


def test_a_judge_that_always_or_never_agrees_with_the_raters() -> None:
    ratings = np.tile(np.arange(1.0, 6.0), 8)[:, None].repeat(3, axis=1)  # all raters agree
    same = alternative_annotator_test(ratings[:, 0], ratings)
    assert (same["winning_rate"], same["advantage_probability"]) == (1, 1)
    off = alternative_annotator_test(6 - ratings[:, 0] + 0.5, ratings)
    assert (off["winning_rate"], off["advantage_probability"], off["passed"]) == (0, 0, False)


def test_it_equals_the_procedure_of_the_paper() -> None:
    generator = np.random.default_rng(4)
    truth = generator.normal(size=90)
    ratings = np.clip(np.rint(3 + truth[:, None] + generator.normal(size=(90, 5))), 1, 5)
    ratings[generator.random(ratings.shape) < 0.3] = NAN
    predicted = np.clip(np.rint(3 + truth + 0.7 * generator.normal(size=90)), 1, 5)
    p_values, advantages = [], []
    for left_out in range(5):
        differences, wins = [], []
        for record in range(90):
            own = ratings[record, left_out]
            others = [r for j, r in enumerate(ratings[record]) if j != left_out and r == r]
            if own != own or not others:
                continue
            judge = -math.sqrt(sum((predicted[record] - r) ** 2 for r in others) / len(others))
            person = -math.sqrt(sum((own - r) ** 2 for r in others) / len(others))
            wins.append(judge >= person)
            differences.append(int(person >= judge) - int(judge >= person))
        p_values.append(stats.ttest_1samp(differences, 0.1, alternative="less").pvalue)
        advantages.append(sum(wins) / len(wins))
    # Step-up procedure: find the largest rank i with p(i) <= i/m · q / (1 + 1/2 + … + 1/m); ranks up to i are rejected.
    bound = 0.05 / sum(1 / i for i in range(1, 6))
    passing = [i for i, p in enumerate(sorted(p_values), start=1) if p <= i / 5 * bound]
    test = alternative_annotator_test(predicted, ratings, epsilon=0.1)
    assert test["winning_rate"] == (max(passing) if passing else 0) / 5
    assert 0 < test["winning_rate"] < 1  # so that some raters are beaten and some are not
    assert test["advantage_probability"] == pytest.approx(sum(advantages) / 5)


def test_missing_ratings_are_left_out_and_raters_with_few_records_skipped() -> None:
    generator = np.random.default_rng(0)
    ratings = np.rint(3 + generator.normal(size=(40, 3)))
    ratings[29:, 2] = NAN  # the third shares 29 records: one too few
    ratings[:9, 0] = NAN
    test = alternative_annotator_test(np.nanmean(ratings, axis=1), ratings)
    assert (test["raters_tested"], test["raters_skipped"]) == (2, 1)
    assert [p is None for p in test["p_values"]] == [False, False, True]
    with pytest.raises(UndefinedError, match="no rater shares 30 records"):
        alternative_annotator_test(np.full(29, 3.0), ratings[:29])
