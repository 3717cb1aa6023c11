"""Objectives, compared with values by hand."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from dramaeval.models.failures import TrainingFailureError
from dramaeval.models.forward.answer_distributions import chosen, expected_scores
from dramaeval.models.inputs.collation import Batch
from dramaeval.training.objectives import (
    WeightedObjective,
    answer_ce,
    choice_ce,
    expected_mse,
    ordinal,
    parse,
    ranking,
    soft_ce,
)

LN2 = math.log(2)


def two_questions() -> tuple[torch.Tensor, Batch]:
    """Logits and batch of two answers of two tokens each, a lead and a score; of 4 tokens, the scores are 1 and 2."""
    # Uniform over 4 tokens, so ln 4 per token, except at the score of the second question: 1/8, 1/2, 1/4, 1/8.
    logits = torch.zeros(4, 4)
    logits[3] = torch.log(torch.tensor([0.125, 0.5, 0.25, 0.125]))
    batch = Batch(
        inputs={}, labels=torch.tensor([0, 1, 0, 1]), question_of=torch.tensor([0, 0, 1, 1]),
        score_index=torch.tensor([1, 3]), score_tokens=torch.tensor([[1, 2], [1, 2]]),
        scale=torch.tensor([[1.0, 2.0], [1.0, 2.0]]), targets=torch.tensor([[0.5, 0.5], [0.25, 0.75]]),
        tokens=4, clips=1,
    )  # fmt: skip
    return logits, batch


def test_answer_ce_by_hand():
    # question 1: ln 4 + ln 4; question 2: ln 4 + ln 2
    torch.testing.assert_close(answer_ce(*two_questions()), torch.tensor([4 * LN2, 3 * LN2]))


def test_soft_ce_by_hand():
    # question 1: ln 4 + ln 4; question 2: ln 4 + 0.25 ln 2 + 0.75 ln 4
    torch.testing.assert_close(soft_ce(*two_questions()), torch.tensor([4 * LN2, 3.75 * LN2]))


def test_expected_mse_by_hand():
    # question 1: p = 1/2, 1/2: 1.5 against 1.5; question 2: p = 2/3, 1/3: 4/3 against 1.75
    expected = torch.tensor([0.0, (4 / 3 - 1.75) ** 2])
    torch.testing.assert_close(expected_mse(*two_questions()), expected)


def test_ordinal_by_hand():
    # cumulative probability of the first score: 1/2 against 1/2; 2/3 against 1/4; the only step of the scale is 1
    expected = torch.tensor([0.0, (2 / 3 - 1 / 4) ** 2])
    torch.testing.assert_close(ordinal(*two_questions()), expected)


def test_a_scale_with_a_range_above_nine_is_rescaled_to_0_to_9():
    logits, batch = two_questions()
    # The first question's scale is 0-90 in place of 0-9, the second's is 1-2.
    scales = [torch.tensor([[low, high], [1.0, 2.0]]) for low, high in ((0.0, 9.0), (0.0, 90.0))]
    targets = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    keys = [("a", "x"), ("b", "x")]
    narrow, wide = (
        replace(batch, scale=scale, targets=targets, question_keys=keys) for scale in scales
    )
    for objective in (expected_mse, ordinal):
        torch.testing.assert_close(objective(logits, narrow), objective(logits, wide))
    # p = 1/2, 1/2 against 3/4, 1/4: an error of a quarter of the range.
    torch.testing.assert_close(expected_mse(logits, wide)[0], torch.tensor((9 / 4) ** 2))
    # Expected scores are 45 and 4/3, and the ratings 22.5 and 1.75 have the same order; the difference is divided by 10.
    expected = math.log(1 + math.exp(-(45 - 4 / 3) / 10))
    torch.testing.assert_close(ranking(logits, wide)[0], torch.tensor(expected))


def test_ordinal_and_expected_mse_on_uneven_scales_of_different_lengths():
    logits, batch = two_questions()
    logits = torch.zeros(4, 4)
    mixed = Batch(
        **{
            **vars(batch),
            "score_tokens": torch.tensor([[0, 1, 2], [1, 2, -1]]),
            "scale": torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 0.0]]),
            "targets": torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        }
    )
    # question 1: 1 · (1/3 − 1)² + 2 · (2/3 − 1)² = 4/9 + 2/9; question 2: 1 · (1/2 − 0)²
    torch.testing.assert_close(ordinal(logits, mixed), torch.tensor([6 / 9, 1 / 4]))
    # question 1: (7/3 − 1)²; question 2: (1/2 − 1)²
    torch.testing.assert_close(expected_mse(logits, mixed), torch.tensor([16 / 9, 1 / 4]))


def test_gradients_of_padded_scales_are_finite():
    logits, batch = two_questions()
    tokens = torch.tensor([[1, 2], [1, -1]])
    for objective in (soft_ce, expected_mse, ordinal):
        free = logits.clone().requires_grad_()
        targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
        some = Batch(**{**vars(batch), "score_tokens": tokens, "targets": targets})
        objective(free, some).sum().backward()
        assert free.grad.isfinite().all()


def test_soft_ce_with_a_certain_target_is_answer_ce():
    logits, batch = two_questions()
    certain = Batch(**{**vars(batch), "targets": torch.tensor([[1.0, 0.0], [1.0, 0.0]])})
    torch.testing.assert_close(soft_ce(logits, certain), answer_ce(logits, certain))


@pytest.mark.parametrize("objective", [answer_ce, soft_ce, expected_mse, ordinal])
def test_gradients_are_those_of_the_function(objective):
    logits, batch = two_questions()
    logits = logits.double().requires_grad_()
    # The objectives compute in float32, so the step of the numerical gradient has to be large.
    assert torch.autograd.gradcheck(
        lambda x: objective(x, batch).sum(), logits, eps=1e-2, atol=1e-2, rtol=1e-2
    )


def test_a_batch_for_scoring_is_refused():
    logits, batch = two_questions()
    with pytest.raises(ValueError, match="a batch for scoring"):
        soft_ce(logits, Batch(**{**vars(batch), "targets": None}))


def test_a_weighted_objective_multiplies_each_term_by_its_weight():
    both = WeightedObjective(
        "soft_ce + 0.5*answer_ce", {"soft_ce": soft_ce, "answer_ce": answer_ce}
    )
    terms = both(*two_questions())
    torch.testing.assert_close(terms["soft_ce"], torch.tensor([4 * LN2, 3.75 * LN2]))
    torch.testing.assert_close(terms["answer_ce"], torch.tensor([2 * LN2, 1.5 * LN2]))


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (lambda logits, batch: logits.mean(), r"returned shape \[\], but"),
        (lambda logits, batch: logits[:, 0], r"returned shape \[4\], but"),
        (lambda logits, batch: logits[:2, :1], r"returned shape \[2, 1\], but"),
        (lambda logits, batch: logits[:1, 0], r"returned shape \[1\], but"),
        (lambda logits, batch: 0.5, "returned 0.5, but"),
        (lambda logits, batch: None, "returned None, but"),
        (lambda logits, batch: [0.5, 0.5], r"returned \[0.5, 0.5\], but"),
    ],
)
@pytest.mark.parametrize("expression", ["mine", "soft_ce+0.5*mine"])
def test_an_objective_that_returns_no_loss_for_each_question_is_refused(
    returned, named, expression
):
    objective = WeightedObjective(expression, {"mine": returned, "soft_ce": soft_ce})
    with pytest.raises(TrainingFailureError, match=f"mine {named}.*\\[questions\\], here \\[2\\]"):
        objective(*two_questions())


@pytest.mark.parametrize(
    ("expression", "message"),
    [("soft", "'soft' is not known; there are answer_ce, soft_ce. Did you mean soft_ce"),
     ("x*soft_ce", "'x' is not a weight"), ("", "'' is not known")],
)  # fmt: skip
def test_invalid_expressions_are_refused_with_a_message(expression, message):
    with pytest.raises(ValueError, match=message):
        parse(expression, ["answer_ce", "soft_ce"])


def four_questions() -> tuple[torch.Tensor, Batch]:
    """Questions x of clips a, b, c and y of clip a, with expected scores 1.5, 4/3, 5/3 and 1.5."""
    odds = [[1, 1], [2, 1], [1, 2], [1, 1]]
    logits = torch.zeros(4, 4)
    for row, (low, high) in enumerate(odds):
        logits[row, 1:3] = torch.log(torch.tensor([float(low), float(high)]))
    batch = Batch(
        inputs={}, labels=torch.ones(4, dtype=torch.int64), question_of=torch.arange(4),
        score_index=torch.arange(4), score_tokens=torch.tensor([[1, 2]] * 4),
        scale=torch.tensor([[1.0, 2.0]] * 4),
        targets=torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]), tokens=4, clips=3,
        question_keys=(("a", "x"), ("b", "x"), ("c", "x"), ("a", "y")),
    )  # fmt: skip
    return logits, batch


def test_ranking_by_hand():
    # The mean ratings are 1, 1.5, 1.5 and, as the only one of its dimension, 2. The ratings of b and c are equal, so
    # this pair is left out. a is rated below b and c; its expected score is 1/6 above b's and 1/6 below c's.
    above, below = math.log(1 + math.exp(1 / 6)), math.log(1 + math.exp(-1 / 6))
    expected = torch.tensor([(above + below) / 2, above, below, 0.0])
    torch.testing.assert_close(ranking(*four_questions()), expected)


def test_choice_ce_by_hand():
    # p of the scores is (1/2, 1/2) and (2/3, 1/3); the second target is (1/4, 3/4)
    logits, batch = two_questions()
    expected = torch.tensor([LN2, -(0.25 * math.log(2 / 3) + 0.75 * math.log(1 / 3))])
    torch.testing.assert_close(choice_ce(logits, batch), expected)


def test_a_regression_head_stays_on_the_scale():
    _, batch = four_questions()
    values = torch.tensor([[0.0], [math.log(3)], [100.0], [-100.0]])
    # sigmoid 1/2, 3/4, 1, 0 of the way from 1 to 2
    expected = torch.tensor([1.5, 1.75, 2.0, 1.0])
    torch.testing.assert_close(expected_scores(values, batch), expected)
    rated = torch.tensor([1.0, 1.5, 1.5, 2.0])
    torch.testing.assert_close(expected_mse(values, batch), (expected - rated).square())
    assert chosen(values, batch).tolist() == [
        0,
        1,
        1,
        0,
    ]  # a value in the middle gives the lower score
    # The first is below the others by 1/4 and 1/2, in the order of the ratings.
    ordered = (math.log(1 + math.exp(-1 / 4)) + math.log(1 + math.exp(-1 / 2))) / 2
    assert float(ranking(values, batch)[0]) == pytest.approx(ordered)
    for objective in (answer_ce, soft_ce, choice_ce, ordinal):
        with pytest.raises(ValueError, match="regression gives a number"):
            objective(values, batch)


@pytest.mark.parametrize("objective", [ranking, choice_ce])
def test_gradients_of_ranking_and_choices_are_those_of_the_function(objective):
    logits, batch = four_questions()
    logits = (logits + torch.linspace(-0.3, 0.4, 16).view(4, 4)).double()

    def total(values):
        return objective(values, batch).double().sum()

    free = logits.clone().requires_grad_()
    total(free).backward()
    for place in itertools.product(range(4), range(4)):
        nudge = torch.zeros_like(logits)
        nudge[place] = 1e-2
        slope = (total(logits + nudge) - total(logits - nudge)) / 2e-2
        assert float(free.grad[place]) == pytest.approx(float(slope), abs=2e-3)
