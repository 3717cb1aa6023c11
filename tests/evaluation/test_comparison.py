"""Two judges on the same records: difference, interval and permutation test."""

import json
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from dramaeval.evaluation.comparison import compare, permutation_p
from dramaeval.evaluation.metrics.pass_fail import Auroc
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.rank_correlations import Kendall, Spearman
from dramaeval.evaluation.metrics.score_errors import MeanSquaredError
from dramaeval.evaluation.predictions import Prediction

Make = Callable[..., Prediction]


def judges(
    make: Make, *, seed: int, noise: tuple[float, float], n: int = 60, dimension: str = "a"
) -> tuple[list[Prediction], list[Prediction]]:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=n)
    ratings = np.clip(np.rint(3 + truth[:, None] + generator.normal(size=(n, 3))), 1, 5)
    result: list[list[Prediction]] = []
    for spread in noise:
        scores = np.clip(3 + truth + spread * generator.normal(size=n), 1, 5)
        result.append(
            [
                make(
                    f"clip-{row}",
                    float(scores[row]),
                    ratings[row].tolist(),
                    dimension=dimension,
                    group=f"character {row % 12}",
                )
                for row in range(n)
            ]
        )
    return result[0], result[1]


def rescaled(make: Make, judge: list[Prediction], change: Callable[[float], float]):
    return [
        make(p.id, change(float(p.expected or 0)), p.ratings, dimension=p.dimension, group=p.group)
        for p in judge
    ]


def test_a_judge_does_not_differ_from_itself(make_prediction: Make) -> None:
    a, _ = judges(make_prediction, seed=0, noise=(1, 1))
    result = compare(a, a, ["a"], seed=0, draws=200)
    for entry in (result["macro"]["pearson"], result["dimensions"]["a"]["mse"]):
        assert entry["difference"] == 0
        assert entry["interval"] == [0, 0]
        assert entry["p"] == 1


def test_a_better_judge_is_significantly_better(make_prediction: Make) -> None:
    a, b = judges(make_prediction, seed=0, noise=(0.3, 3))
    result = compare(a, b, ["a"], seed=0, draws=500)
    for name, better in (("pearson", 1), ("spearman", 1), ("mse", -1)):
        for entry in (result["macro"][name], result["dimensions"]["a"][name]):
            assert entry["difference"] == pytest.approx(entry["a"] - entry["b"])
            assert min(better * value for value in entry["interval"]) > 0
            assert entry["p"] == pytest.approx(1 / 501)
    assert result["bootstrap"]["clusters"] == 12
    json.dumps(result, allow_nan=False)


def test_p_is_the_share_of_all_exchanges_with_as_large_a_difference(make_prediction: Make) -> None:
    # Six records without groups have 64 exchanges, over which p can be computed exactly.
    ratings = [1, 2, 3, 4, 5, 3]
    scores = {"a": [1.5, 2, 2.5, 4, 4, 3], "b": [3, 1, 4.5, 3.5, 2.5, 2]}
    a, b = (
        [
            make_prediction(f"r{row}", float(score), [ratings[row]])
            for row, score in enumerate(scores[judge])
        ]
        for judge in "ab"
    )
    result = compare(a, b, ["trait_embodiment"], seed=0, draws=20_000, metrics=[MeanSquaredError()])
    errors = np.array([np.subtract(scores[judge], ratings) ** 2 for judge in "ab"])
    observed = abs(errors[0].mean() - errors[1].mean())
    patterns = np.array(list(product([1, -1], repeat=6)))
    exchanged = np.abs((patterns * (errors[0] - errors[1])).mean(axis=1))
    exact = float((exchanged >= observed - 1e-9).mean())
    entry = result["dimensions"]["trait_embodiment"]["mse"]
    assert entry["a"] - entry["b"] == pytest.approx(errors[0].mean() - errors[1].mean())
    assert 0.01 < exact < 0.9
    assert entry["p"] == pytest.approx(exact, abs=0.015)


def test_permutation_p_counts_the_observed_difference() -> None:
    # |d*| ≥ 2 for 3 and -2, and one of five is undefined: (1 + 2) / (1 + 4).
    assert permutation_p(2.0, np.array([3, -2, 1, 0, np.nan])) == pytest.approx(3 / 5)
    assert permutation_p(2.0, np.array([np.nan])) is None


def test_equal_judges_are_rarely_significant(make_prediction: Make) -> None:
    significant = 0
    for seed in range(100):
        a, b = judges(make_prediction, seed=seed, noise=(1, 1), n=36)
        result = compare(a, b, ["a"], seed=seed, draws=100, metrics=[Pearson()])
        significant += result["macro"]["pearson"]["p"] <= 0.05
    assert significant <= 12  # 5 expected + 3 standard errors of 2.2


def test_correlations_do_not_depend_on_the_use_of_the_scale(make_prediction: Make) -> None:
    a, b = judges(make_prediction, seed=3, noise=(1, 1.2))
    squeezed = rescaled(make_prediction, b, lambda score: 4 + score / 10)
    metrics = [Pearson(), Spearman(), Kendall(), MeanSquaredError()]
    plain = compare(a, b, ["a"], seed=0, draws=200, metrics=metrics)["macro"]
    other = compare(a, squeezed, ["a"], seed=0, draws=200, metrics=metrics)["macro"]
    for name in ("pearson", "spearman", "kendall"):
        assert other[name]["p"] == pytest.approx(plain[name]["p"])
        assert other[name]["difference"] == pytest.approx(plain[name]["difference"])
    assert other["mse"]["p"] != plain["mse"]["p"]


def test_macro_covers_all_dimensions_and_p_is_adjusted(make_prediction: Make) -> None:
    a1, b1 = judges(make_prediction, seed=1, noise=(0.5, 2), dimension="a")
    a2, b2 = judges(make_prediction, seed=2, noise=(1, 1), dimension="b")
    result = compare([*a1, *a2], [*b1, *b2], ["a", "b"], seed=0, draws=300, metrics=[Pearson()])
    first, second = (result["dimensions"][key]["pearson"] for key in "ab")
    macro = result["macro"]["pearson"]
    assert macro["difference"] == pytest.approx((first["difference"] + second["difference"]) / 2)
    assert macro["dimensions_defined"] == 2
    # Benjamini-Yekutieli with two tests: the smaller p times 2·(1 + 1/2), the larger times 3/2.
    low, high = sorted([first, second], key=lambda entry: entry["p"])
    assert high["p_adjusted"] == pytest.approx(min(1, 1.5 * high["p"]))
    assert low["p_adjusted"] == pytest.approx(min(3 * low["p"], high["p_adjusted"]))


def test_unpaired_predictions_are_counted(make_prediction: Make) -> None:
    a, b = judges(make_prediction, seed=0, noise=(1, 1))
    unscored = make_prediction(b[0].id, None, b[0].ratings, dimension="a", group=b[0].group)
    extra = make_prediction("extra", 3.0, [3], dimension="a")
    unrated = make_prediction("unrated", 3.0, [None], dimension="a")
    result = compare([*a, unrated], [unscored, *b[2:], extra, unrated], ["a"], seed=0, draws=50)
    assert result["records"] == 58
    assert result["left_out"] == {
        "unrated": 1,
        "unscored_by_one": 1,
        "only_in_a": 1,
        "only_in_b": 1,
    }


def test_undefined_differences_have_reasons(make_prediction: Make) -> None:
    a, b = judges(make_prediction, seed=0, noise=(1, 1))
    flat = rescaled(make_prediction, b, lambda score: 3.0)
    result = compare(a, flat, ["a"], seed=0, draws=50, metrics=[Pearson(), Auroc()])
    assert result["macro"] == {"pearson": None, "auroc": None}
    assert result["dimensions"]["a"]["undefined"] == {
        "pearson": "the judge gave every record the same score",
        "auroc": "for pass/fail scales only",
    }


def test_few_clusters_give_a_difference_without_tests(make_prediction: Make) -> None:
    a, b = judges(make_prediction, seed=0, noise=(1, 1), n=4)
    result = compare(a, b, ["a"], seed=0)
    entry = result["macro"]["mse"]
    assert entry["difference"] == pytest.approx(entry["a"] - entry["b"])
    assert entry["interval"] is None
    assert entry["p"] is None


@pytest.mark.parametrize("groups", [4, 5])
def test_a_dimension_with_few_clusters_has_a_difference_without_tests(
    make_prediction: Make, groups: int
) -> None:
    """The characters of the records on dimension b are the first ones of twelve; intervals need five."""
    few = {f"character {number}" for number in range(groups)}
    a, b = (
        [*of_a, *(p for p in of_b if p.group in few)]
        for of_a, of_b in zip(
            judges(make_prediction, seed=0, noise=(1, 2)),
            judges(make_prediction, seed=1, noise=(1, 2), dimension="b"),
            strict=True,
        )
    )
    result = compare(a, b, ["a", "b"], seed=0, draws=100)
    for name in ("pearson", "spearman", "mse"):
        sparse, full = (result["dimensions"][key][name] for key in ("b", "a"))
        assert sparse["difference"] == pytest.approx(sparse["a"] - sparse["b"])
        assert (sparse["interval"] is None) == (sparse["p"] is None) == (groups < 5)
        assert ("p_adjusted" in sparse) == (groups == 5)
        assert full["interval"] is not None
        assert result["macro"][name]["interval"] is not None


def test_judges_of_different_data_are_refused(make_prediction: Make) -> None:
    a, b = judges(make_prediction, seed=0, noise=(1, 1))
    b[3] = make_prediction(b[3].id, 3.0, [1, 1, 1], dimension="a", group=b[3].group)
    with pytest.raises(ValueError, match="record 'clip-3' on 'a' has ratings"):
        compare(a, b, ["a"], seed=0)
