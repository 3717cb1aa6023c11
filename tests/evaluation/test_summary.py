"""The content of metrics.json: names, counts by hand, intervals, and null with a reason for undefined values."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.comparison import compare
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.drop import drop
from dramaeval.evaluation.metrics.metric import metric_name
from dramaeval.evaluation.metrics.standard import STANDARD, TAKEN
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.score_spread import with_thoughts, with_wordings
from dramaeval.evaluation.summary import summarise
from dramaeval.training.validation_metrics import validation_metrics

Make = Callable[..., Prediction]


def judged(make: Make, dimension: str, *, seed: int, n: int = 60, noise: float = 1.0, **more: Any):
    """Records of ten characters with four raters, some ratings missing."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=n)
    ratings = np.clip(np.rint(3 + truth[:, None] + generator.normal(size=(n, 4))), 1, 5)
    scores = np.clip(3 + truth + noise * generator.normal(size=n), 1, 5)
    return [
        make(
            f"clip-{row}",
            float(scores[row]),
            [None if generator.random() < 0.1 else float(r) for r in ratings[row]],
            dimension=dimension,
            group=f"character {row % 10}",
            **more,
        )
        for row in range(n)
    ]


def test_scored_unscored_and_unrated_predictions_are_counted(make_prediction: Make) -> None:
    predictions = [
        make_prediction("a", 1.0, [1, 2]),
        make_prediction("b", 2.0, [2, None]),
        make_prediction("c", 3.0, [3, 3]),
        make_prediction("d", None, [4, 4], state="audio unreadable"),
        make_prediction("e", 4.0, [None, None]),
        make_prediction("f", None, [None, None], state="no answer"),
    ]
    result = summarise(predictions, ["trait_embodiment"], seed=0)
    values = result["dimensions"]["trait_embodiment"]
    assert values["n"] == 3
    assert values["records"] == 6
    assert values["unscored"] == 2
    assert values["unscored_reasons"] == {"audio unreadable": 1, "no answer": 1}
    assert values["missing"] == 2
    assert (values["ratings"], values["ratings_missing"]) == (7, 5)
    assert {name: result["macro"][name] for name in ("n", "records", "unscored", "missing")} == {
        "n": 3,
        "records": 6,
        "unscored": 2,
        "missing": 2,
    }
    # Judge 1 2 3 against 1.5 2 3: deviations -1 0 1 and -4/6 -1/6 5/6: Σdxdy = 9/6, Σdx² = 2,
    # Σdy² = (16 + 1 + 25)/36 = 7/6.
    assert values["pearson"] == pytest.approx(1.5 / math.sqrt(2 * 7 / 6))
    assert values["mse"] == pytest.approx(0.25 / 3)


def test_macro_is_the_mean_and_lists_undefined_dimensions(make_prediction: Make) -> None:
    def three(dimension: str, scores: list[float], ratings: list[float]) -> list[Prediction]:
        return [
            make_prediction(f"r{row}", score, [rating], dimension=dimension)
            for row, (score, rating) in enumerate(zip(scores, ratings, strict=True))
        ]

    predictions = [
        *three("up", [1, 2, 3], [1, 2, 3]),  # r = 1, error 0
        *three("down", [3, 2, 1], [1, 2, 3]),  # r = -1, mean squared error 8/3
        *three("flat", [3, 3, 3], [1, 2, 3]),  # r undefined, mean squared error 5/3
        *three("short", [4, 5], [4, 4]),  # r undefined, mean squared error 1/2
    ]
    keys = ["up", "down", "flat", "short", "absent"]
    result = summarise(predictions, keys, seed=0)
    macro = result["macro"]
    assert macro["pearson"] == pytest.approx(0)
    assert macro["mse"] == pytest.approx((0 + 8 / 3 + 5 / 3 + 1 / 2) / 4)
    assert macro["dimensions"] == 5
    assert macro["dimensions_defined"]["pearson"] == 2
    assert macro["dimensions_defined"]["mse"] == 4
    assert macro["dimensions_undefined"]["pearson"] == {
        "flat": "the judge gave every record the same score",
        "short": "only 2 records are both scored and rated; at least 3 are needed",
        "absent": "no record is both scored and rated",
    }
    assert list(macro["dimensions_undefined"]["mse"]) == ["absent"]
    assert result["dimensions"]["flat"]["pearson"] is None
    assert result["dimensions"]["flat"]["undefined"]["pearson"].startswith("the judge gave")
    assert result["dimensions"]["absent"]["n"] == 0
    assert "auroc" not in macro
    json.dumps(result, allow_nan=False)


def test_intervals_contain_their_values(make_prediction: Make) -> None:
    predictions = [
        *judged(make_prediction, "a", seed=1),
        *judged(make_prediction, "b", seed=2, noise=2.0),
    ]
    result = summarise(predictions, ["a", "b"], seed=5, draws=400)
    assert result["bootstrap"] == {
        "draws": 400,
        "level": 0.95,
        "clusters": 10,
        "seed": 5,
        "undefined": None,
    }
    for values in (result["macro"], *result["dimensions"].values()):
        for name in ("pearson", "spearman", "kendall", "mse", "mae", "ccc"):
            low, high = values["interval"][name]
            assert low < values[name] < high, name
    low, high = result["dimensions"]["a"]["ceiling"]["interval"]["pearson"]
    assert low < result["dimensions"]["a"]["ceiling"]["pearson"] < high
    # The interval of the mean over two dimensions is narrower than the wider of theirs.
    widths = [high - low for low, high in (v["interval"]["pearson"] for v in (
        result["macro"], result["dimensions"]["a"], result["dimensions"]["b"]))]  # fmt: skip
    assert widths[0] < max(widths[1:])
    json.dumps(result, allow_nan=False)


def test_the_macro_interval_equals_that_of_resampled_records(make_prediction: Make) -> None:
    predictions = [*judged(make_prediction, "a", seed=1), *judged(make_prediction, "b", seed=2)]
    result = summarise(predictions, ["a", "b"], seed=5, draws=200)
    # Characters 0 … 9 in the order of their names are the clusters 0 … 9.
    macros = []
    for counts in bootstrap_draws(10, 200, seed=5).counts:
        values = []
        for key in ("a", "b"):
            rows = [p for p in predictions if p.dimension == key]
            drawn = [p for p in rows for _ in range(int(counts[int(str(p.group)[-1])]))]
            judge = [p.expected for p in drawn if p.mean_rating is not None]
            ratings = [p.mean_rating for p in drawn if p.mean_rating is not None]
            values.append(np.corrcoef(np.array(judge, float), np.array(ratings, float))[0, 1])
        macros.append(np.mean(values))
    expected = np.quantile(macros, [0.025, 0.975])
    assert result["macro"]["interval"]["pearson"] == pytest.approx(expected.tolist())


def test_intervals_depend_on_the_seed_and_not_on_the_order(make_prediction: Make) -> None:
    predictions = [*judged(make_prediction, "a", seed=1), *judged(make_prediction, "b", seed=2)]
    shuffled = [predictions[row] for row in np.random.default_rng(0).permutation(120)]

    def intervals(of: list[Prediction], seed: int) -> Any:
        return summarise(of, ["a", "b"], seed=seed, draws=100)["macro"]["interval"]

    for name, (low, high) in intervals(predictions, 1).items():
        assert intervals(shuffled, 1)[name] == pytest.approx([low, high]), name
    assert intervals(predictions, 1)["pearson"] != intervals(predictions, 2)["pearson"]


def test_there_are_no_intervals_without_draws_or_with_few_clusters(make_prediction: Make) -> None:
    predictions = judged(make_prediction, "a", seed=1)
    without = summarise(predictions, ["a"], seed=0, draws=0)
    assert without["dimensions"]["a"]["interval"] == {}
    assert without["macro"]["interval"] == {}
    assert without["bootstrap"]["undefined"] is None
    few = [p for p in predictions if p.group in ("character 1", "character 2")]
    result = summarise(few, ["a"], seed=0)
    assert result["dimensions"]["a"]["interval"] == {}
    assert result["dimensions"]["a"]["pearson"] is not None
    assert result["bootstrap"]["draws"] == 0
    assert result["bootstrap"]["undefined"] == "2 clusters are too few for intervals; 5 are needed"


def test_a_dimension_with_few_clusters_has_no_interval(make_prediction: Make) -> None:
    rare = [p for p in judged(make_prediction, "b", seed=2) if str(p.group)[-1] in "012"]
    result = summarise(
        [*judged(make_prediction, "a", seed=1), *rare], ["a", "b"], seed=0, draws=100
    )
    values = result["dimensions"]["b"]
    assert values["clusters"] == 3
    assert values["interval"]["pearson"] is None
    assert values["interval_undefined"]["pearson"] == "only 3 clusters"
    assert values["ceiling"]["pearson"] is not None
    assert values["ceiling"]["interval"]["pearson"] is None
    assert result["dimensions"]["a"]["ceiling"]["interval"]["pearson"] is not None
    assert result["dimensions"]["a"]["interval"]["pearson"] is not None


def test_the_ceiling_is_the_same_for_every_judge(make_prediction: Make) -> None:
    good = judged(make_prediction, "a", seed=1, noise=0.1)
    poor = [
        make_prediction(p.id, None, p.ratings, dimension="a", group=p.group)
        if row % 3
        else make_prediction(p.id, 3.0, p.ratings, dimension="a", group=p.group)
        for row, p in enumerate(good)
    ]
    ceilings = [
        summarise(of, ["a"], seed=0, draws=100)["dimensions"]["a"]["ceiling"] for of in (good, poor)
    ]
    assert ceilings[0] == ceilings[1]
    assert ceilings[0]["raters"] == 4


def test_a_pass_fail_dimension_has_further_metrics(make_prediction: Make) -> None:
    passing = [
        make_prediction("a", 0.9, [1, 1], dimension="content_pass", scale=(0.0, 1.0)),
        make_prediction("b", 0.2, [0, 0], dimension="content_pass", scale=(0.0, 1.0)),
        make_prediction("c", 0.4, [0, 1], dimension="content_pass", scale=(0.0, 1.0)),
        make_prediction("d", 0.8, [0, 0], dimension="content_pass", scale=(0.0, 1.0)),
    ]
    result = summarise(
        [*passing, *judged(make_prediction, "a", seed=1)], ["content_pass", "a"], seed=0
    )
    values = result["dimensions"]["content_pass"]
    assert values["majority_ties"] == 1
    assert values["auroc"] == 1  # 0.9 is above 0.2 and 0.8
    assert values["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert values["f1"] == pytest.approx(2 / 3)
    assert "auroc" not in result["dimensions"]["a"]
    assert "majority_ties" not in result["dimensions"]["a"]
    assert result["macro"]["auroc"] == 1
    assert result["macro"]["dimensions_defined"]["auroc"] == 1
    assert result["macro"]["dimensions_undefined"]["auroc"] == {"a": "does not apply to this scale"}


def two_units(make_prediction: Make, slider: float = 10.0) -> list[Prediction]:
    """Predictions that are too high by 1 on the scale 1-5 and by ``slider`` on the scale 0-100."""
    ends = {"five": ((1.0, 2.0, 3.0, 4.0, 5.0), 1.0), "slider": ((0.0, 100.0), slider)}
    return [
        make_prediction(f"r{number}", rating + error, [rating], dimension=key, scale=scale)
        for key, (scale, error) in ends.items()
        for number, rating in enumerate((1.0, 2.0, 4.0, 3.0, 2.0, 1.0))
    ]


def test_errors_on_different_scales_are_averaged_relative_to_the_range(
    make_prediction: Make,
) -> None:
    result = summarise(two_units(make_prediction), ["five", "slider"], seed=0, draws=20)
    assert result["dimensions"]["five"]["mse"] == pytest.approx(1)
    assert result["dimensions"]["slider"]["mse"] == pytest.approx(100)
    macro = result["macro"]
    # 1 of 4 points, and 10 of 100.
    assert macro["mse"] == pytest.approx((1 / 16 + 1 / 100) / 2)
    assert macro["mae"] == macro["bias"] == pytest.approx((1 / 4 + 1 / 10) / 2)
    assert macro["interval"]["mse"] == pytest.approx([macro["mse"]] * 2)
    assert macro["pearson"] == pytest.approx(1)
    assert macro["units"] == dict.fromkeys(("mse", "mae", "bias"), "range")
    one_dimension = summarise(two_units(make_prediction)[:6], ["five", "slider"], seed=0, draws=0)[
        "macro"
    ]
    assert one_dimension["mse"] == pytest.approx(1)
    assert "units" not in one_dimension


def test_differences_and_drops_on_different_scales_are_relative_to_the_range(
    make_prediction: Make,
) -> None:
    keys, settings = ["five", "slider"], {"seed": 0, "draws": 20}
    a, b = two_units(make_prediction), two_units(make_prediction, slider=50.0)
    for entry in (
        compare(b, a, keys, **settings)["macro"]["mse"],
        drop(b, a, keys, **settings)["macro"]["mse"],
    ):
        # Only the error on the slider differs: 0.5² − 0.1² ranges², halved by the other dimension.
        assert entry["difference"] == pytest.approx((0.25 - 0.01) / 2)
        assert entry["interval"] == pytest.approx([0.12] * 2)
        assert entry["unit"] == "range"


def test_the_error_in_validation_is_relative_to_the_range(make_prediction: Make) -> None:
    assert validation_metrics(two_units(make_prediction))["mse"] == pytest.approx(
        (1 / 16 + 1 / 100) / 2
    )


def test_the_summary_has_results_of_systems_and_of_the_alternative_annotator(
    make_prediction: Make,
) -> None:
    predictions = [
        make_prediction(
            p.id, p.expected, p.ratings, dimension="a", group=p.group, system=f"tts-{row % 3}"
        )
        for row, p in enumerate(judged(make_prediction, "a", seed=1, noise=0.2))
    ]
    result = summarise(predictions, ["a"], seed=0, draws=100)
    level = result["dimensions"]["a"]["system_level"]
    assert level["systems"] == 3
    assert result["macro"]["system_level"]["soft_pairwise_accuracy"] == pytest.approx(
        level["soft_pairwise_accuracy"]
    )
    test = result["dimensions"]["a"]["alternative_annotator"]
    assert test["raters_tested"] == 4
    assert result["macro"]["alternative_annotator"]["winning_rate"] == test["winning_rate"]
    json.dumps(result, allow_nan=False)


def test_a_custom_metric_is_added_to_the_standard_ones(make_prediction: Make) -> None:
    def largest_error(arrays: DimensionArrays) -> float | None:
        return float(abs(arrays.predicted - arrays.rated).max()) if arrays.n else None

    predictions = judged(make_prediction, "a", seed=1)
    result = summarise(predictions, ["a", "b"], seed=0, draws=100, metrics=[largest_error])
    errors = [abs(p.expected - p.mean_rating) for p in predictions if p.mean_rating is not None]
    assert result["dimensions"]["a"]["largest_error"] == pytest.approx(max(errors))
    assert result["macro"]["largest_error"] == pytest.approx(max(errors))
    assert result["macro"]["interval"]["largest_error"][1] == pytest.approx(max(errors))
    assert result["dimensions"]["b"]["undefined"]["largest_error"] == "the metric gave None"


def test_the_names_of_all_other_results_are_taken(make_prediction: Make) -> None:
    """A metric with such a name would replace the result, see `with_standard`."""
    predictions = [
        replace(
            each, system=f"tts-{row % 3}", wordings=(each.expected, each.expected),
            thoughts=(each.expected, each.expected), scale=scale, ratings=tuple(scale[-1] if r else None for r in each.ratings),
            expected=(each.expected - 1) / 4 if scale == (0.0, 1.0) else each.expected, distribution=None,
        )
        for key, scale in (("a", (1.0, 2.0, 3.0, 4.0, 5.0)), ("b", (0.0, 1.0)))
        for row, each in enumerate(judged(make_prediction, key, seed=1))
    ]  # fmt: skip
    result = summarise(predictions, ["a", "b"], seed=0, draws=100)
    result = with_thoughts(with_wordings(result, predictions), predictions)
    metrics = {metric_name(metric) for metric in STANDARD}
    found = {name for part in (*result["dimensions"].values(), result["macro"]) for name in part}
    assert found - metrics == TAKEN


def test_unknown_dimensions_and_repeated_predictions_are_refused(make_prediction: Make) -> None:
    one = make_prediction("a", 3.0, [3], dimension="pitch")
    with pytest.raises(ValueError, match="'pitch', which is not among the dimensions rhythm"):
        summarise([one], ["rhythm"], seed=0)
    with pytest.raises(ValueError, match="record 'a' is predicted twice on 'pitch'"):
        summarise([one, one], ["pitch"], seed=0)


def test_a_summary_without_predictions() -> None:
    result = summarise([], ["pitch"], seed=0)
    assert result["macro"]["pearson"] is None
    assert result["macro"]["dimensions_defined"]["pearson"] == 0
    json.dumps(result, allow_nan=False)
