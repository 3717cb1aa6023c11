"""Predictions as arrays of the records that are both scored and rated, in any order."""

from collections.abc import Callable

import numpy as np
import pytest

from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.predictions import Prediction


def test_arrays_have_only_records_that_are_scored_and_rated(
    make_prediction: Callable[..., Prediction],
) -> None:
    predictions = [
        make_prediction("a", 3.5, [4, None, 5], group="Élan", distribution=(0, 0, 0.5, 0.5, 0)),
        make_prediction("b", None, [1, 2, 3], group="Élan"),
        make_prediction("c", 2.0, [None, None, None], group="Bo"),
        make_prediction("d", 1.0, [2, 2]),
        make_prediction("e", 5.0, [5, 5, 5], group="Bo"),
    ]
    clusters = cluster_names(predictions)
    assert clusters == {("group", "Bo"): 0, ("group", "Élan"): 1, ("id", "d"): 2}
    assert cluster_names(reversed(predictions)) == clusters
    of = dimension_arrays("trait_embodiment", predictions, clusters)
    assert of.n == 3
    assert of.predicted.tolist() == [3.5, 1, 5]
    assert of.rated.tolist() == [4.5, 2, 5]
    assert of.cluster.tolist() == [1, 2, 0]
    assert of.distribution[0].tolist() == [0, 0, 0.5, 0.5, 0]
    assert np.isnan(of.distribution[1:]).all()
    np.testing.assert_equal(of.ratings, [[4, np.nan, 5], [2, 2, np.nan], [5, 5, 5]])


def test_a_record_and_a_group_of_the_same_name_are_different_clusters(
    make_prediction: Callable[..., Prediction],
) -> None:
    names = cluster_names([make_prediction("x", 3, [3]), make_prediction("y", 3, [3], group="x")])
    assert len(names) == 2


def test_different_scales_of_one_dimension_are_refused(
    make_prediction: Callable[..., Prediction],
) -> None:
    mixed = [make_prediction("a", 1, [1]), make_prediction("b", 1, [1], scale=(0.0, 1.0))]
    with pytest.raises(ValueError, match=r"different scales: \[0.0, 1.0\] and \[1.0, 2.0"):
        dimension_arrays("trait_embodiment", mixed, cluster_names(mixed))


def test_a_dimension_without_predictions_is_empty() -> None:
    of = dimension_arrays("trait_embodiment", [], {})
    assert of.n == 0
    assert of.ratings.shape == (0, 0)


def test_majority_is_nan_for_a_tie(make_arrays: Callable[..., DimensionArrays]) -> None:
    of = make_arrays([1, 1, 1], ratings=[[1, 1, 0], [1, 0, np.nan], [0, 0, 1]], scale=(0, 1))
    np.testing.assert_equal(of.majority, [1, np.nan, 0])
