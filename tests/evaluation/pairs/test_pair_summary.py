"""The summary of a judge of pairs: dimensions, macro, slices, intervals and reasons."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dramaeval.evaluation.pairs.pair_arrays import pair_arrays, pair_clusters
from dramaeval.evaluation.pairs.pair_metrics import PAIR_METRICS, pair_value
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs


def of_two(random_pairs):
    other = [replace(p, dimension="pitch") for p in random_pairs(2)]
    return [*random_pairs(1), *other]


def test_dimensions_macro_and_intervals(random_pairs):
    summary = summarise_pairs(of_two(random_pairs), ["overall", "pitch", "none"], seed=0, draws=300)
    json.dumps(summary, allow_nan=False)
    arrays = pair_arrays(random_pairs(1), pair_clusters(random_pairs(1)))
    first, second, empty = summary["dimensions"].values()
    for name, metric in PAIR_METRICS.items():
        assert first[name] == pytest.approx(pair_value(metric, arrays))
        assert summary["macro"][name] == pytest.approx((first[name] + second[name]) / 2)
        low, high = first["interval"][name]
        assert low <= first[name] <= high or name in ("ece", "intransitive", "intransitive_people")
    assert empty["accuracy"] is None
    assert empty["undefined"]["accuracy"] == "no pair"
    assert summary["macro"]["dimensions_defined"]["accuracy"] == 2
    assert summary["macro"]["pairs"] == 72
    ceiling = first["ceiling"]
    assert (
        ceiling["interval"]["accuracy"][0]
        < ceiling["accuracy"]
        < ceiling["interval"]["accuracy"][1]
    )
    assert summary["bootstrap"] == {
        "draws": 300, "level": 0.95, "clusters": 12, "seed": 0, "undefined": None,
    }  # fmt: skip


def test_slices_partition_the_pairs_and_average_to_the_total(random_pairs):
    pairs = random_pairs(1)
    summary = summarise_pairs(pairs, ["overall"], seed=0, draws=50)
    whole = summary["dimensions"]["overall"]
    for name in ("margin", "language"):
        parts = summary["slices"][name].values()
        assert sum(part["voted"] for part in parts) == whole["voted"]
        mean = sum(part["accuracy"] * part["voted"] for part in parts) / whole["voted"]
        assert mean == pytest.approx(whole["accuracy"])
    tie = summary["slices"]["margin"]["tie"]
    means = np.array([p.mean_vote for p in pairs], dtype=float)
    assert tie["pairs"] == (means == 0).sum()
    assert list(summary["slices"]["language"]) == ["de", "en"]


def test_with_few_prompts_there_are_no_intervals(random_pairs):
    summary = summarise_pairs(random_pairs(1, prompts=4), ["overall"], seed=0, draws=50)
    assert summary["dimensions"]["overall"]["interval"] == {}
    assert "4 prompts are too few" in summary["bootstrap"]["undefined"]


def test_scored_pairs_have_no_position_bias(make_pair):
    summary = summarise_pairs(
        [make_pair("p", (0.6, 0.1, 0.3), (1.0,), margin=0.4)], ["overall"], seed=0
    )
    undefined = summary["dimensions"]["overall"]["undefined"]
    assert undefined["position_bias"] == "the judge does not see both clips in one prompt"
    ceiling = summary["dimensions"]["overall"]["ceiling"]
    assert ceiling["undefined"]["accuracy"] == "no pair has the votes of two raters"


def test_a_repeated_or_unknown_pair_is_named(make_pair):
    p = make_pair("p", (0.6, 0.1, 0.3), (1.0,))
    with pytest.raises(ValueError, match="record 'p' is predicted twice on 'overall'"):
        summarise_pairs([p, p], ["overall"], seed=0)
    with pytest.raises(ValueError, match="'overall', which is not among the dimensions pitch"):
        summarise_pairs([p], ["pitch"], seed=0)
