"""Pair metrics, compared with values by hand and with scikit-learn, and unchanged by an exchange of the clips."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dramaeval.data.raters import RaterInfo
from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.metrics.metric import UndefinedError
from dramaeval.evaluation.pairs.pair_metrics import (
    PAIR_METRICS,
    pair_calibration_curve,
    pair_value,
    pair_values_over_draws,
)
from dramaeval.evaluation.pairs.rater_ceiling import ceiling_values


def value(name, arrays):
    return pair_value(PAIR_METRICS[name], arrays)


@pytest.fixture
def four(make_pair, arrays_of):
    """Verdicts of raters and judge: a, a; tie, a; b, tie; tie, tie."""
    return arrays_of(
        [
            make_pair("p1", (0.7, 0.2, 0.1), (1.0, 0.5, -1.0)),
            make_pair("p2", (0.5, 0.3, 0.2), (1.0, -1.0)),
            make_pair("p3", (0.3, 0.4, 0.3), (-0.5, None, -1.0)),
            make_pair("p4", (0.4, 0.2, 0.4), (0.0,)),
        ]
    )


def test_accuracies_by_hand(four):
    assert four.verdict.tolist() == [1, 0, -1, 0]
    assert four.judged.tolist() == [1, 1, 0, 0]
    assert value("accuracy", four) == pytest.approx(2 / 4)
    # Without ties of the raters: p1, where the judge agrees, and p3, where p_a = p_b counts as wrong.
    assert value("accuracy_untied", four) == pytest.approx(1 / 2)
    assert four.unanimous.tolist() == [False, False, True, False]
    assert value("accuracy_unanimous", four) == 0


def test_the_verdict_is_the_outcome_with_the_most_votes(make_pair, arrays_of):
    votes = [(1.0, 0.0), (1.0, -1.0, 0.0), (0.5, 0.5, -1.0), (0.0, 0.0, 1.0), (), (None,)]
    mean = make_pair("m", (1, 0, 0), (-0.2,), raters=RaterInfo(mean_only=True))
    arrays = arrays_of([*(make_pair(str(v), (1, 0, 0), v) for v in votes), mean])
    assert arrays.verdict[:4].tolist() == [0, 0, 1, 0]
    assert np.isnan(arrays.verdict[4:6]).all()
    assert arrays.verdict[6] == -1
    assert np.isnan(arrays.shares[6]).all()  # a mean does not give the shares


def test_calibration_and_brier_by_hand(four):
    # Shares of a, tie, b: (⅔, 0, ⅓), (½, 0, ½), (0, 0, 1), (0, 1, 0).
    points = [
        (0.7, 2 / 3),
        (0.1, 1 / 3),
        (0.5, 0.5),
        (0.2, 0.5),
        (0.3, 0),
        (0.3, 1),
        (0.4, 0),
        (0.4, 0),
    ]
    gaps = {}
    for stated, share in points:
        gaps.setdefault(int(stated * 10), []).append(stated - share)
    expected = sum(abs(sum(gap)) for gap in gaps.values()) / len(points)
    assert value("ece", four) == pytest.approx(expected)
    curve = pair_calibration_curve(four)
    assert sum(point.n for point in curve) == 8
    assert [point.share for point in curve if point.low == pytest.approx(0.3)] == [0.5]
    p = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.4, 0.2, 0.4]])
    votes = [[0, 0, 2], [0, 2], [2, 2], [1]]  # the outcome of each vote
    each = [
        np.mean([((row - np.eye(3)[k]) ** 2).sum() for k in ks])
        for row, ks in zip(p, votes, strict=True)
    ]
    assert value("brier", four) == pytest.approx(np.mean(each))


def test_auroc_equals_scikit_learn(random_pairs, arrays_of):
    arrays = arrays_of(random_pairs(3))
    decided = np.abs(arrays.verdict) == 1
    margin, label = arrays.margin[decided], arrays.verdict[decided] == 1
    both = roc_auc_score(np.concatenate([label, ~label]), np.concatenate([margin, -margin]))
    assert value("auroc", arrays) == pytest.approx(both)
    assert value("auroc_ties", arrays) == pytest.approx(
        roc_auc_score(decided, np.abs(arrays.margin))
    )


def test_position_bias_by_hand(make_pair, arrays_of):
    arrays = arrays_of(
        [
            # The first clip is better in both orders: a with a first, b with b first.
            make_pair("p1", (0.5, 0.0, 0.5), (), order_ab=(0.9, 0, 0.1), order_ba=(0.1, 0, 0.9)),
            make_pair("p2", (0.8, 0.1, 0.1), (), order_ab=(0.7, 0.1, 0.2), order_ba=(0.9, 0.1, 0)),
            make_pair("p3", (0.5, 0.1, 0.4), ()),
        ]
    )
    # p1: ((0.9 − 0.1) + (0.9 − 0.1)) / 2 = 0.8; p2: ((0.7 − 0.2) + (0 − 0.9)) / 2 = −0.2
    assert value("position_bias", arrays) == pytest.approx((0.8 - 0.2) / 2)
    assert value("position_consistency", arrays) == pytest.approx(1 / 2)
    assert value("first_favoured", arrays) == pytest.approx(1 / 2)
    assert value("second_favoured", arrays) == 0


def test_cyclic_triples_by_enumeration(make_pair, arrays_of):
    generator = np.random.default_rng(0)
    predictions, cycles, triples = [], 0, 0
    for prompt in range(4):
        clips = [f"{prompt}-{k}" for k in range(6)]
        gap = {}
        for a, b in combinations(range(6), 2):
            if generator.random() < 0.2:
                continue  # not every pair is judged
            gap[a, b] = round(generator.uniform(-0.5, 0.5), 1)  # 0.0 is no preference
            p = ((1 + gap[a, b]) / 2, 0.0, (1 - gap[a, b]) / 2)
            more = {"prompt": str(prompt), "clip_a": clips[a], "clip_b": clips[b]}
            predictions.append(make_pair(f"{prompt}-{a}{b}", p, (), **more))
        for a, b, c in combinations(range(6), 3):
            three = [gap.get(key, 0) for key in ((a, b), (b, c), (a, c))]
            if all(three):
                triples += 1
                cycles += np.sign(three).tolist() in ([1, 1, -1], [-1, -1, 1])
    assert 0 < cycles < triples
    assert value("intransitive", arrays_of(predictions)) == pytest.approx(cycles / triples)


def test_a_cyclic_triple_needs_three_clips_of_one_prompt(make_pair, arrays_of):
    a, b = (1, 0, 0), (0, 0, 1)
    clips = {"ab": ("x", "y", a), "bc": ("y", "z", a), "ca": ("x", "z", b)}

    def cycle(*prompts):
        pairs = [
            make_pair(name, p, (), prompt=prompt, clip_a=first, clip_b=second)
            for (name, (first, second, p)), prompt in zip(clips.items(), prompts, strict=True)
        ]
        return value("intransitive", arrays_of(pairs))

    assert cycle("1", "1", "1") == 1
    for prompts in (("1", "1", "2"), (None, None, None)):
        with pytest.raises(UndefinedError, match="no prompt has three clips"):
            cycle(*prompts)


def test_an_exchange_of_the_clips_changes_no_metric(random_pairs, arrays_of, exchanged):
    pairs = random_pairs(5)
    flips = np.random.default_rng(0).random(len(pairs)) < 0.5
    before, after = arrays_of(pairs), arrays_of(exchanged(pairs, flips))
    for name in PAIR_METRICS:
        assert value(name, after) == pytest.approx(value(name, before)), name


def test_values_over_draws_equal_the_metric_of_the_resampled_pairs(random_pairs, arrays_of):
    arrays = arrays_of(random_pairs(7))
    draws = bootstrap_draws(12, 6, seed=1)
    in_draws = pair_values_over_draws(PAIR_METRICS, arrays, draws)
    assert set(in_draws) == set(PAIR_METRICS)
    cyclic = {"intransitive", "intransitive_people"}
    for draw, counts in enumerate(draws.counts):
        rows = np.repeat(np.arange(len(arrays)), counts[arrays.cluster])
        for name in set(PAIR_METRICS) - cyclic:
            assert in_draws[name][draw] == pytest.approx(value(name, arrays.take(rows))), name
        shares = [  # a prompt drawn twice counts twice; its copies form no triples with each other
            (counts[k], value("intransitive", arrays.take(np.flatnonzero(arrays.cluster == k))))
            for k in range(12)
        ]
        expected = sum(n * share for n, share in shares) / sum(n for n, _ in shares)
        assert in_draws["intransitive"][draw] == pytest.approx(expected)


def test_the_ceiling_by_hand(four):
    values, row = ceiling_values(four)
    # The votes of the others of each rater: p1 (a, a, b): tie, tie, a. p2 (a, b): b, a. p3 (b, b): b, b.
    assert row.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert values["accuracy"].tolist() == [0, 0, 0, 0, 0, 1, 1]
    untied = values["accuracy_untied"]
    assert np.isnan(untied[:2]).all()
    assert untied[2:].tolist() == [0, 0, 0, 1, 1]
    # The judge: a for p1 and p2; it prefers neither clip of p3.
    assert values["judge_accuracy"].tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert values["judge_accuracy_untied"][2:].tolist() == [1, 0, 1, 0, 0]
