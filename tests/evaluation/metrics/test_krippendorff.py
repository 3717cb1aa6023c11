"""Ordinal alpha, compared with values by hand and with an example of Krippendorff."""

import numpy as np
import pytest

from dramaeval.evaluation.metrics.krippendorff import ordinal_alpha
from dramaeval.evaluation.metrics.metric import UndefinedError

NAN = float("nan")


def test_alpha_of_two_values_by_hand() -> None:
    # Margins 3 and 3, distance² (3/2 + 3/2)² = 9. Observed pairs 1-2 and 2-1, once each: 18.
    # By chance 2·3·3·9 / 5 = 162/5. alpha = 1 - 18·5/162 = 4/9.
    assert ordinal_alpha(np.array([[1.0, 1], [1, 2], [2, 2]])) == pytest.approx(4 / 9)


def test_alpha_of_three_values_with_gaps_by_hand() -> None:
    # The third record has one rating and is left out: margins 3, 3, 2, middles 1.5, 4.5, 7,
    # distances² 9 (1-2), 30.25 (1-3), 6.25 (2-3). Observed: record 2 has 4 ordered pairs 2-3 over
    # m-1 = 2, so 2·6.25; record 4 likewise 2·9: 30.5. By chance
    # 2·(3·3·9 + 3·2·30.25 + 3·2·6.25)/7 = 600/7. alpha = 1 - 30.5·7/600.
    ratings = np.array([[1, 1, NAN], [2, 3, 3], [3, NAN, NAN], [1, 2, 2]])
    assert ordinal_alpha(ratings) == pytest.approx(1 - 30.5 * 7 / 600)


def test_alpha_of_an_example_by_krippendorff() -> None:
    # "Computing Krippendorff's Alpha-Reliability" (2011), example C: ordinal alpha .815.
    raters = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
    assert ordinal_alpha(np.array(raters).T) == pytest.approx(0.815, abs=5e-4)


def test_without_expected_disagreement_alpha_is_undefined() -> None:
    with pytest.raises(UndefinedError, match="the same rating"):
        ordinal_alpha(np.full((4, 3), 3.0))
    with pytest.raises(UndefinedError, match="no record was rated by two"):
        ordinal_alpha(np.array([[1, NAN], [NAN, 2]]))
    assert ordinal_alpha(np.array([[1.0, 1], [2, 2]])) == 1
