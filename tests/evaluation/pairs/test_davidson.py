"""Davidson's model, compared with a general optimiser and closed forms; samples without a maximum."""

import numpy as np
import pytest
from scipy.optimize import minimize

from dramaeval.evaluation.pairs.davidson import components, fit

FIRST, SECOND = np.array([0, 0, 1]), np.array([1, 2, 2])


def by_optimiser(counts, systems=3):
    """The maximum over π and ν of the product of Davidson's probabilities, eq. 2.3 of his paper."""

    def loss(values):
        pi, nu = np.exp(np.append(values[:-1], -values[:-1].sum())), np.exp(values[-1])
        i, j = pi[FIRST], pi[SECOND]
        whole = i + j + nu * np.sqrt(i * j)
        return -sum(
            (n * np.log(q / whole)).sum()
            for n, q in zip(counts, (i, nu * np.sqrt(i * j), j), strict=True)
        )

    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 9000}
    best = minimize(loss, np.zeros(systems), method="Nelder-Mead", options=options)
    return np.append(best.x[:-1], -best.x[:-1].sum()), best.x[-1]


@pytest.mark.parametrize(
    "counts",
    [
        [[5, 7, 4], [2, 1, 3], [3, 2, 5]],
        [
            [0.3, 40, 4],
            [0.1, 1, 0],
            [9, 0.2, 3.5],
        ],  # expected counts of a judge, with large differences
    ],
)
def test_the_fit_equals_that_of_a_general_optimiser(counts):
    counts = np.array(counts, dtype=float)
    ratings, log_nu = by_optimiser(counts)
    fitted = fit(counts[None], FIRST, SECOND, 3)
    assert fitted.ratings[0] == pytest.approx(ratings, abs=1e-5)
    assert fitted.log_nu[0] == pytest.approx(log_nu, abs=1e-5)


def test_two_systems_have_a_closed_form():
    # P = share of each outcome: θ₁ − θ₂ = log(6/2), ν = 2 / √(6·2)
    fitted = fit(np.array([[[6.0], [2.0], [2.0]]]), np.array([0]), np.array([1]), 2)
    assert fitted.ratings[0] == pytest.approx([np.log(3) / 2, -np.log(3) / 2])
    assert fitted.log_nu[0] == pytest.approx(np.log(2 / np.sqrt(12)))
    untied = fit(np.array([[[6.0], [0.0], [2.0]]]), np.array([0]), np.array([1]), 2)
    assert untied.ratings[0] == pytest.approx([np.log(3) / 2, -np.log(3) / 2])
    assert untied.log_nu[0] == -np.inf


def test_samples_are_independent():
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 20, size=(7, 3, 3)).astype(float)
    counts[2, 1] = 0
    fitted_together = fit(counts, FIRST, SECOND, 3)
    for sample, counted in enumerate(counts):
        fitted_alone = fit(counted[None], FIRST, SECOND, 3)
        assert fitted_together.ratings[sample] == pytest.approx(fitted_alone.ratings[0], abs=1e-8)


def test_samples_without_a_maximum_are_nan():
    beaten = [[4, 4, 4], [0, 0, 0], [0, 0, 4]]  # system 0 never loses
    apart = [[4, 0, 0], [0, 0, 0], [4, 0, 0]]  # system 2 is never compared
    tied = [[0, 0, 0], [4, 4, 4], [0, 0, 0]]
    good = [[4, 4, 4], [0, 0, 0], [1, 0, 4]]
    fitted = fit(np.array([beaten, apart, tied, good], dtype=float), FIRST, SECOND, 3)
    assert np.isnan(fitted.ratings).any(axis=1).tolist() == [True, True, True, False]
    assert components(np.array(apart), FIRST, SECOND, 3, "weak") == [[0, 1], [2]]


def test_a_judge_that_is_nearly_certain_has_finite_ratings():
    counts = np.array([[3 - 3e-6] * 3, [0] * 3, [3e-6] * 3])
    pair = fit(counts[None, :, :1], np.array([0]), np.array([1]), 2)
    assert pair.ratings[0, 0] == pytest.approx(np.log((3 - 3e-6) / 3e-6) / 2)
    ratings = fit(counts[None], FIRST, SECOND, 3).ratings[0]
    assert np.isfinite(ratings).all()
    # The counts are symmetric, so system 1 is exactly between 0 and 2.
    assert ratings[1] == pytest.approx(0, abs=1e-6)
