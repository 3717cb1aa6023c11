"""The drop of one judge's agreement between test sets: difference and interval."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy

from dramaeval.evaluation.drop import drop, drops
from dramaeval.evaluation.predictions import Prediction

Make = Callable[..., Prediction]


def scored(make: Make, name: str, *, noise: float, n: int, groups: int, first: int = 0):
    """Predictions of one test set on the dimension a; groups are numbered from ``first``."""
    generator = np.random.default_rng(len(name))
    ratings = generator.integers(1, 6, size=n)
    scores = np.clip(ratings + noise * generator.normal(size=n), 1, 5)
    return [
        make(
            f"{name}-{row}",
            float(scores[row]),
            [float(ratings[row])],
            dimension="a",
            group=f"g{first + row % groups:02}",
        )
        for row in range(n)
    ]


def pearson(predictions) -> float:
    scores, people = zip(*((p.expected, p.mean_rating) for p in predictions), strict=True)
    return float(scipy.stats.pearsonr(scores, people).statistic)


@pytest.mark.parametrize("first", [0, 4], ids=["groups in both sets", "some groups in both sets"])
def test_the_interval_is_from_joint_draws_of_the_groups_of_both_sets(
    make_prediction: Make, first: int
) -> None:
    studio = scored(make_prediction, "studio", noise=0.5, n=40, groups=8)
    wild = scored(make_prediction, "wild", noise=2.0, n=30, groups=8, first=first)
    entry = drop(wild, studio, ["a"], seed=3, draws=50, level=0.9)["macro"]["pearson"]
    assert entry["a"] == pytest.approx(pearson(wild))
    assert entry["b"] == pytest.approx(pearson(studio))
    assert entry["difference"] == pytest.approx(pearson(wild) - pearson(studio))
    assert set(entry) == {"a", "b", "difference", "interval", "dimensions", "dimensions_defined"}

    names = sorted({p.group for p in (*studio, *wild)})
    generator = np.random.default_rng(3)
    differences = []
    for _ in range(50):
        drawn = [names[i] for i in generator.integers(len(names), size=len(names))]
        a, b = ([p for g in drawn for p in part if p.group == g] for part in (wild, studio))
        differences.append(pearson(a) - pearson(b))
    assert entry["interval"] == pytest.approx(np.quantile(differences, [0.05, 0.95]))


@pytest.mark.parametrize("sparse", ["studio", "wild"])
def test_a_dimension_with_few_groups_in_one_set_has_no_interval(
    make_prediction: Make, sparse: str
) -> None:
    sets = {}
    for name in ("studio", "wild"):
        full = scored(make_prediction, name, noise=0.5, n=40, groups=8)
        chosen = [p for p in full if name != sparse or p.group in ("g00", "g01", "g02", "g03")]
        sets[name] = [*full, *(replace(p, dimension="b") for p in chosen)]
    result = drop(sets["wild"], sets["studio"], ["a", "b"], seed=0, draws=100)
    assert result["dimensions"]["a"]["pearson"]["interval"] is not None
    assert result["dimensions"]["b"]["pearson"]["interval"] is None
    assert result["dimensions"]["b"]["pearson"]["difference"] is not None


def test_too_few_groups_of_one_set_give_no_interval(make_prediction: Make) -> None:
    studio = scored(make_prediction, "studio", noise=0.5, n=40, groups=8)
    wild = scored(make_prediction, "wild", noise=0.5, n=30, groups=4)
    result = drop(wild, studio, ["a"], seed=0, draws=50)
    assert result["macro"]["pearson"]["interval"] is None
    assert result["bootstrap"]["draws"] == 0


def test_the_macro_has_only_dimensions_that_both_sets_define(make_prediction: Make) -> None:
    studio = scored(make_prediction, "studio", noise=0.5, n=20, groups=8)
    wild = scored(make_prediction, "wild", noise=1.0, n=20, groups=8)
    only = [make_prediction(f"x{k}", float(k), [float(k)], dimension="b") for k in (1, 2, 3)]
    result = drop([*wild, *only], studio, ["a", "b"], seed=0, draws=0)
    assert result["macro"]["pearson"]["dimensions_defined"] == 1
    assert result["macro"]["pearson"]["a"] == pytest.approx(pearson(wild))
    assert "pearson" in result["dimensions"]["b"]["undefined"]


def test_each_further_set_is_compared_with_the_first(make_prediction: Make) -> None:
    sets = {
        name: scored(make_prediction, name, noise=noise, n=40, groups=10)
        for name, noise in {"test_studio": 0.3, "test_wild": 3.0, "test_radio!": 0.3}.items()
    }
    result = drops(sets, ["a"], seed=0, draws=200)
    assert list(result) == ["test_wild", "test_radio!"]
    assert {figure["from"] for figure in result.values()} == {"test_studio"}
    assert drops({"test": sets["test_wild"]}, ["a"], seed=0) == {}
