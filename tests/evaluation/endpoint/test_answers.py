"""Distributions from replies of an endpoint, compared with values by hand."""

import math

import numpy as np
import pytest

from dramaeval.evaluation.endpoint.answers import (
    UnreadableAnswerError,
    chosen,
    from_logprobs,
    from_samples,
)
from dramaeval.evaluation.endpoint.reply import Completion, MalformedReplyError, Token, read_reply
from dramaeval.tasks.all_dimensions import labelled_fields
from dramaeval.tasks.question import AnswerField
from dramaeval.tasks.rubric import Dimension


def dimension(scale=(1, 2, 3, 4, 5), key="rhythm"):
    scores = dict.fromkeys(scale, "")
    return Dimension(
        key=key, annotation=key, title=key.title(), scale=scale, description="", scores=scores
    )


def fields(scale=(1, 2, 3, 4, 5)):
    return (AnswerField.of_score(dimension(scale)),)


def completion(*tokens, finished=True):
    """An answer of tokens. A token is a text, or a mapping of alternatives to probabilities; the first is written."""
    written = [token if isinstance(token, dict) else {token: 1.0} for token in tokens]
    parts = tuple(
        Token(next(iter(each)), {text: math.log(p) for text, p in each.items()}) for each in written
    )
    return Completion("".join(part.text for part in parts), None, finished, parts)


def test_the_distribution_is_the_probabilities_of_the_score_token_over_the_scale():
    answer = completion("<answer>", {"4": 0.5, "3": 0.3, "x": 0.2}, "</answer>")
    (row,) = from_logprobs(answer, fields())
    np.testing.assert_allclose(row, [0, 0, 0.3 / 0.8, 0.5 / 0.8, 0])


def test_a_token_with_further_text_counts_for_the_score_in_it():
    answer = completion("<answer", {">4</": 0.6, ">3": 0.2, ">5</": 0.2}, "answer>")
    (row,) = from_logprobs(answer, fields())
    np.testing.assert_allclose(row, [0, 0, 0.2, 0.6, 0.2])


def test_a_thought_with_digits_is_not_the_answer():
    answer = completion(
        "<think>", "4 of 5", "</think>\n<answer>", {"2": 0.9, "1": 0.1}, "</answer>"
    )
    (row,) = from_logprobs(answer, fields())
    np.testing.assert_allclose(row, [0.1, 0.9, 0, 0, 0])


def test_a_written_token_that_begins_two_scores_is_split_by_the_next():
    answer = completion("<answer>", {"1": 0.8, "9": 0.2}, {"0": 0.7, "</": 0.3}, "</answer>")
    (row,) = from_logprobs(answer, fields(tuple(range(1, 11))))
    np.testing.assert_allclose(row[[0, 8, 9]], [0.8 * 0.3, 0.2, 0.8 * 0.7])


def test_an_alternative_token_that_begins_two_scores_gives_no_distribution():
    answer = completion("<answer>", {"9": 0.8, "1": 0.2}, "</answer>")
    assert from_logprobs(answer, fields(tuple(range(1, 11)))) is None


def test_tokens_of_another_text_are_ignored():
    tokens = completion("<answer>", "4", "</answer>").tokens
    assert from_logprobs(Completion("<answer>5</answer>", None, True, tokens), fields()) is None


def test_every_field_of_an_answer_has_its_own_distribution():
    two_fields = labelled_fields([dimension(key="pitch"), dimension(key="rhythm")])
    answer = completion(
        "<answer>[Pitch]", {"2": 0.5, "3": 0.5}, "\n[Rhythm] ", {"5": 0.9, "4": 0.1}, "</answer>"
    )
    pitch, rhythm = from_logprobs(answer, two_fields)
    np.testing.assert_allclose(pitch, [0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(rhythm, [0, 0, 0, 0.1, 0.9])


@pytest.mark.parametrize(
    "text", ["<answer>4</answer>", "4", " **4** ", "<answer> 4.0</answer>", "<answer>4.", "'4'"]
)
def test_several_forms_of_a_score_are_read(text):
    (place,) = chosen(Completion(text, None, True), fields())
    assert (place.choice, text[place.start]) == (3, "4")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<answer>6</answer>", "not on the scale: '6'"),
        ("<answer>4/5</answer>", "not on the scale: '4/5'"),
        ("The acting is good, 4 of 5.", "not on the scale"),
        ("<answer></answer>", "not on the scale: ''"),
        ("<answer>nan</answer>", "not on the scale: 'nan'"),
    ],
)
def test_an_answer_without_a_score_is_unreadable(text, reason):
    with pytest.raises(UnreadableAnswerError, match=reason):
        chosen(Completion(text, None, True), fields())


def test_a_missing_field_and_an_unfinished_answer_have_their_reasons():
    two_fields = labelled_fields([dimension(key="pitch"), dimension(key="rhythm")])
    with pytest.raises(UnreadableAnswerError, match=r"has no \[Rhythm\]"):
        chosen(Completion("<answer>[Pitch]3</answer>", None, True), two_fields)
    with pytest.raises(UnreadableAnswerError, match="did not end within"):
        chosen(Completion("<think>It is", None, False), fields())


def test_options_are_read_in_any_case():
    field = AnswerField(
        dimension=dimension(), choices=("Angry", "Calm"), scale=(0, 1), options=True
    )
    (place,) = chosen(Completion("<answer>calm</answer>", None, True), [field])
    assert place.choice == 1


def test_samples_give_shares_of_the_readable_answers():
    texts = ["<answer>4</answer>", "<answer>5</answer>", "no idea", "<answer>4</answer>"]
    rows, unreadable = from_samples([Completion(text, None, True) for text in texts], fields())
    np.testing.assert_allclose(rows[0], [0, 0, 0, 2 / 3, 1 / 3])
    assert unreadable == 1
    with pytest.raises(UnreadableAnswerError, match="the model refused"):
        from_samples([Completion("", "the model refused: no", True)] * 3, fields())


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", "{}", '{"choices": []}', '{"choices": [{}]}', '{"choices": [{"message": 3}]}',
     '{"choices": [{"message": {"content": 3}}]}',
     '{"choices": [{"message": {"content": "4"}, "logprobs": {"content": [{"token": "4"}]}}]}'],
)  # fmt: skip
def test_a_malformed_reply_is_an_error(body):
    with pytest.raises(MalformedReplyError):
        read_reply(body)


@pytest.mark.parametrize("place", ["token", "alternative"])
@pytest.mark.parametrize("logprob", ["NaN", "null", '"low"', "1000", "Infinity", "0.5", "[]"])
def test_what_is_no_logprob_is_malformed(logprob, place):
    values = {"token": "-0.1", "alternative": "-0.1", place: logprob}
    other = f'{{"token": "5", "logprob": {values["alternative"]}}}'
    token = f'{{"token": "4", "logprob": {values["token"]}, "top_logprobs": [{other}]}}'
    body = (
        f'{{"choices": [{{"message": {{"content": "4"}}, "logprobs": {{"content": [{token}]}}}}]}}'
    )
    with pytest.raises(MalformedReplyError):
        read_reply(body)


def test_a_logprob_of_rounding_and_one_of_no_probability_are_read():
    others = '{"token": "4", "logprob": 1e-9}, {"token": "5", "logprob": -Infinity}'
    token = f'{{"token": "4", "logprob": 1e-9, "top_logprobs": [{others}]}}'
    body = (
        f'{{"choices": [{{"message": {{"content": "4"}}, "logprobs": {{"content": [{token}]}}}}]}}'
    )
    (completion,) = read_reply(body).completions
    assert completion.tokens[0].alternatives == {"4": 0.0, "5": float("-inf")}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ('{"message": {"content": null, "refusal": "I cannot help."}}', "refused: I cannot help."),
        ('{"message": {"content": "<ans"}, "finish_reason": "content_filter"}', "content filter"),
        ('{"message": {"content": null}, "finish_reason": "stop"}', "wrote no answer"),
    ],
)
def test_the_reason_of_a_refusal_is_given(choice, reason):
    (refused,) = read_reply(f'{{"choices": [{choice}]}}').completions
    with pytest.raises(UnreadableAnswerError, match=reason):
        chosen(refused, fields())
