"""The objective of pairs: values by hand, its gradient, and its sum with other objectives."""

import math
from dataclasses import replace

import pytest
import torch

from dramaeval.models.forward.answer_distributions import expected_scores
from dramaeval.models.forward.pair_outcomes import outcome_log_p, outcome_probabilities
from dramaeval.models.inputs.collation import Batch
from dramaeval.training.objectives import (
    WeightedObjective,
    bradley_terry,
    expected_mse,
    preferences_met,
    ranking,
)


def batch_of(scores: int = 4, **changes) -> Batch:
    """Four questions, one answer position each; the scores 1 and 2 are tokens 1 and 2 of three. Questions 1 and 3
    are the clips a and b of a pair."""
    values = {
        "inputs": {}, "labels": torch.full((scores,), -100), "question_of": torch.arange(scores),
        "score_index": torch.arange(scores), "score_tokens": torch.tensor([[1, 2]] * scores),
        "scale": torch.tensor([[1.0, 2.0]] * scores), "targets": torch.tensor([[0.5, 0.5]] * scores),
        "tokens": scores, "clips": scores, "pairs": torch.tensor([[1, 3]]),
        "pair_targets": torch.tensor([[0.2, 0.3, 0.5]]), "pair_model": torch.tensor([[2.0, 0.5]]),
        "question_keys": (("r", "k"),) * scores,
    }  # fmt: skip
    return Batch(**(values | changes))


def logits_of(*expected: float) -> torch.Tensor:
    """Logits with these expected scores: 2 has the odds (e − 1)/(2 − e)."""
    return torch.tensor([[0.0, 0.0, math.log((e - 1) / (2 - e))] for e in expected])


def by_hand(difference, slope, weight):
    """(b, tie, a): strengths e^(±slope·difference/2), a tie between them with its weight."""
    a, b = math.exp(slope * difference / 2), math.exp(-slope * difference / 2)
    total = a + weight + b
    return b / total, weight / total, a / total


def test_the_loss_is_the_cross_entropy_of_davidsons_probabilities():
    losses = bradley_terry(logits_of(1.5, 1.75, 1.5, 1.25), batch_of())
    p_b, p_tie, p_a = by_hand(0.5, 2.0, 0.5)
    loss = -(0.2 * math.log(p_b) + 0.3 * math.log(p_tie) + 0.5 * math.log(p_a))
    torch.testing.assert_close(losses, torch.tensor([0.0, loss, 0.0, loss]))


def test_without_ties_it_is_the_model_of_bradley_and_terry():
    batch = batch_of(pair_model=torch.tensor([[2.0, 0.0]]))
    losses = bradley_terry(logits_of(1.5, 1.75, 1.5, 1.25), batch)
    p_a = 1 / (1 + math.exp(-2.0 * 0.5))  # a logistic function of slope × difference
    loss = -((0.5 + 0.15) * math.log(p_a) + (0.2 + 0.15) * math.log(1 - p_a))
    torch.testing.assert_close(losses[1], torch.tensor(loss))


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("head", [3, 1])
def test_the_gradient_equals_a_numerical_gradient(monkeypatch, weight, head):
    # The functions compute in float32; in a numerical gradient they must compute in double precision.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    batch = batch_of()
    double = {
        name: value.double()
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    batch = replace(batch, **double)
    batch = replace(batch, pair_model=torch.tensor([[1.3, weight]], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, head, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: bradley_terry(each, batch), (logits,))
    (gradient,) = torch.autograd.grad(bradley_terry(logits, batch).sum(), logits)
    assert gradient[[1, 3]].abs().sum() > 0
    assert not gradient[[0, 2]].any()


def test_gradients_are_finite_far_from_the_votes():
    logits = torch.tensor([[0.0, 90.0, -90.0], [0.0, -90.0, 90.0]], requires_grad=True)
    batch = batch_of(
        2, pairs=torch.tensor([[0, 1]]), pair_targets=torch.tensor([[0.0, 0.0, 1.0]]),
        pair_model=torch.tensor([[50.0, 0.0]]),
    )  # fmt: skip
    bradley_terry(logits, batch).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("margin", [0.0, 1e-9, 0.3, 3.7, 80.0])
def test_a_reversed_pair_has_exactly_the_reversed_probabilities(margin):
    forwards = outcome_probabilities(margin, 1.7, 0.4)
    assert outcome_probabilities(-margin, 1.7, 0.4) == forwards[::-1]
    assert sum(forwards) == pytest.approx(1, abs=1e-15)
    assert forwards == pytest.approx(by_hand(margin, 1.7, 0.4), abs=1e-12)


def test_two_equal_clips_tie_with_the_stated_probability():
    assert outcome_probabilities(0.0, 3.0, 0.5)[1] == pytest.approx(0.5 / 2.5)
    assert outcome_probabilities(0.0, 3.0, 0.0) == pytest.approx((0.5, 0.0, 0.5))


def test_log_probabilities_of_many_pairs():
    difference, slope, weight = torch.tensor([[0.5, -2.0], [1.0, 3.0], [0.5, 2.0]])
    expected = [
        by_hand(*each)
        for each in zip(*map(torch.Tensor.tolist, (difference, slope, weight)), strict=True)
    ]
    torch.testing.assert_close(
        outcome_log_p(difference, slope, weight).exp(), torch.tensor(expected)
    )


def test_in_a_sum_of_objectives_rated_and_paired_questions_have_separate_losses():
    logits, batch = logits_of(1.5, 1.75, 1.2, 1.25), batch_of()
    known = {"expected_mse": expected_mse, "bradley_terry": bradley_terry, "ranking": ranking}
    terms = WeightedObjective("expected_mse+0.5*bradley_terry+ranking", known)(logits, batch)
    # The targets' mean is 1.5: questions 0 and 2 have the errors 0 and −0.3.
    torch.testing.assert_close(terms["expected_mse"], torch.tensor([0.0, 0.0, 0.09, 0.0]))
    torch.testing.assert_close(terms["bradley_terry"], 0.5 * bradley_terry(logits, batch))
    assert not terms["ranking"].any()


def test_ranking_does_not_compare_rated_clips_with_clips_of_pairs():
    logits = logits_of(1.2, 1.9, 1.6, 1.1)
    targets = torch.tensor([[0.8, 0.2], [0.0, 0.0], [0.3, 0.7], [0.0, 0.0]])
    losses = ranking(logits, batch_of(targets=targets))
    # Question 2 is rated above question 0, and the judge agrees by 0.4.
    loss = math.log1p(math.exp(-0.4))
    torch.testing.assert_close(losses, torch.tensor([loss, 0.0, loss, 0.0]))


def test_a_batch_without_pairs_has_a_loss_and_gradient_of_zero():
    logits = logits_of(1.5, 1.75, 1.2, 1.25).requires_grad_()
    losses = bradley_terry(logits, batch_of(pairs=None, pair_targets=None, pair_model=None))
    losses.sum().backward()
    assert not losses.any()
    assert not logits.grad.any()


def test_the_counted_pairs_are_those_with_a_preference():
    logits, batch = logits_of(1.5, 1.75, 1.5, 1.25), batch_of()
    assert preferences_met(logits, batch) == {"pair/count": 1, "pair/correct": 1}
    reversed_votes = replace(batch, pair_targets=batch.pair_targets.flip(-1))
    assert preferences_met(logits, reversed_votes) == {"pair/count": 1, "pair/correct": 0}
    tied = replace(batch, pair_targets=torch.tensor([[0.25, 0.5, 0.25]]))
    assert preferences_met(logits, tied) == {"pair/count": 0, "pair/correct": 0}


def test_the_loss_of_a_regression_head():
    logits = torch.tensor([[0.0], [1.0], [0.0], [-1.0]])
    difference = float(expected_scores(logits, batch_of())[[1, 3]].diff()[0])
    sigmoid = 1 / (1 + math.exp(-1.0))
    assert -difference == pytest.approx(sigmoid - (1 - sigmoid))
    p_b, p_tie, p_a = by_hand(-difference, 2.0, 0.5)
    loss = -(0.2 * math.log(p_b) + 0.3 * math.log(p_tie) + 0.5 * math.log(p_a))
    assert float(bradley_terry(logits, batch_of())[1]) == pytest.approx(loss, rel=1e-5)
