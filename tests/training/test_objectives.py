"""Objectives against values worked out by hand."""

import math

import pytest
import torch

from dramaeval.models.batch import Batch
from dramaeval.training.objectives import (
    Composition,
    answer_ce,
    expected_mse,
    ordinal,
    parse,
    soft_ce,
)

LN2 = math.log(2)


def two_questions() -> tuple[torch.Tensor, Batch]:
    """Vocabulary of four; answers of two tokens, a lead and a score; scores are tokens 1 and 2."""
    # Uniform over 4 tokens: ln 4 a token. The second question's score position is 1/2, 1/4, 1/8, 1/8.
    logits = torch.zeros(4, 4)
    logits[3] = torch.log(torch.tensor([0.125, 0.5, 0.25, 0.125]))
    batch = Batch(
        inputs={}, labels=torch.tensor([0, 1, 0, 1]), question_of=torch.tensor([0, 0, 1, 1]),
        score_at=torch.tensor([1, 3]), score_tokens=torch.tensor([[1, 2], [1, 2]]),
        scale=torch.tensor([[1.0, 2.0], [1.0, 2.0]]), targets=torch.tensor([[0.5, 0.5], [0.25, 0.75]]),
        tokens=4, clips=1,
    )  # fmt: skip
    return logits, batch


def test_answer_ce():
    # question 1: ln 4 + ln 4; question 2: ln 4 + ln 2
    torch.testing.assert_close(answer_ce(*two_questions()), torch.tensor([4 * LN2, 3 * LN2]))


def test_soft_ce():
    # question 1: ln 4 + ln 4; question 2: ln 4 + 0.25 ln 2 + 0.75 ln 4
    torch.testing.assert_close(soft_ce(*two_questions()), torch.tensor([4 * LN2, 3.75 * LN2]))


def test_expected_mse():
    # question 1: p = 1/2, 1/2: 1.5 against 1.5; question 2: p = 2/3, 1/3: 4/3 against 1.75
    expected = torch.tensor([0.0, (4 / 3 - 1.75) ** 2])
    torch.testing.assert_close(expected_mse(*two_questions()), expected)


def test_ordinal():
    # cumulative at the first score: 1/2 against 1/2; 2/3 against 1/4; the scale's only step is 1
    expected = torch.tensor([0.0, (2 / 3 - 1 / 4) ** 2])
    torch.testing.assert_close(ordinal(*two_questions()), expected)


def test_ordinal_on_an_uneven_scale_and_beside_a_longer_one():
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


def test_a_shorter_scale_has_finite_gradients():
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
    # float32 inside: the step of the numerical gradient has to be coarse
    assert torch.autograd.gradcheck(
        lambda x: objective(x, batch).sum(), logits, eps=1e-2, atol=1e-2, rtol=1e-2
    )


def test_a_batch_for_scoring_is_refused():
    logits, batch = two_questions()
    with pytest.raises(ValueError, match="made for scoring"):
        soft_ce(logits, Batch(**{**vars(batch), "targets": None}))


def test_composition_adds_with_weights():
    both = Composition("soft_ce + 0.5*answer_ce", {"soft_ce": soft_ce, "answer_ce": answer_ce})
    terms = both(*two_questions())
    torch.testing.assert_close(terms["soft_ce"], torch.tensor([4 * LN2, 3.75 * LN2]))
    torch.testing.assert_close(terms["answer_ce"], torch.tensor([2 * LN2, 1.5 * LN2]))


@pytest.mark.parametrize(
    ("expression", "message"),
    [("soft", "'soft' is not known; there are answer_ce, soft_ce. Did you mean soft_ce"),
     ("x*soft_ce", "'x' is not a weight"), ("", "'' is not known")],
)  # fmt: skip
def test_wrong_expressions_are_explained(expression, message):
    with pytest.raises(ValueError, match=message):
        parse(expression, ["answer_ce", "soft_ce"])
