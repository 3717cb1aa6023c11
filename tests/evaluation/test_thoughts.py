"""Several sampled thoughts per question: the mean score over them, reproducibility, metrics and cost."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dramaeval.config.schema import PACKAGE
from dramaeval.evaluation import record_reply, scoring
from dramaeval.evaluation.prediction_stream import resume, stream
from dramaeval.evaluation.predictions import Prediction, read_predictions
from dramaeval.evaluation.score_spread import (
    deviation,
    thought_text,
    with_thoughts,
    with_wordings,
    wording_text,
)
from dramaeval.evaluation.scoring import score
from dramaeval.evaluation.summary import summarise
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward import generation
from dramaeval.models.forward.generation import GeneratedText, Sampling
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.planning.generation_time import GenerationTime
from dramaeval.stages.builders import build_task
from dramaeval.stages.thought_cost import thought_cost

TINY = PACKAGE / "models" / "tiny"
DIMENSIONS = "task.dimensions=[pitch_dynamics,rhythmic_naturalness]"
TASK = ("task=role_caption", "task.thought_tokens=6")
#: At this temperature the tiny judge writes a different thought each time.
SAMPLED = (*TASK, DIMENSIONS, "task.thought_samples=3", "task.thought_temperature=3")


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture(scope="module")
def judge(family):
    return family.load(torch.device("cpu"))


@pytest.fixture
def prepared(composed, make_clips, family):
    """A function that builds a task and returns its records and their encoder."""
    file = make_clips("clip", 3, seconds=(1.0, 2.3))

    def build(*overrides):
        task = build_task(composed(*overrides))
        encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=8)
        return task.read(file).records, encoder

    return build


def by_key(predictions):
    return {(each.id, each.dimension): each for each in predictions}


def test_the_score_is_the_mean_over_single_given_thoughts(judge, prepared, monkeypatch):
    """Thoughts without an end or with markup are left out; if no other thought is left, there is no score."""
    texts = ["A flat voice.", "Slow and calm.", "Loud."]

    def fixed(records, *args, sampling, **kwargs):
        written = [GeneratedText(text, finished=True) for text in texts]
        written[2:] = [GeneratedText("And so", False), GeneratedText("<|AUDIO|>", True), written[2]]
        ended = [written, [GeneratedText("And so", finished=False)] * 5]
        return [[t for part in ended[: len(record.questions)] for t in part] for record in records]

    monkeypatch.setattr(record_reply, "generate", fixed)
    records, encoder = prepared(*TASK, DIMENSIONS, "task.thought_samples=5")
    first, second = score(judge, records[:1], encoder, keep_thoughts=True)
    _, given = prepared(*TASK, "task.thought_in_scoring=given", "task.dimensions=[pitch_dynamics]")
    singles = []
    for text in texts:
        fields = given.task.fields_with_thought(records[0].fields, text)
        record = type(records[0])(**{**vars(records[0]), "fields": fields})
        (single,) = score(judge, [record], given)
        singles.append(single)
    expected = np.mean([single.distribution for single in singles], axis=0)
    np.testing.assert_allclose(first.distribution, expected, atol=1e-5)
    assert first.expected == pytest.approx(float(expected @ [1, 2, 3, 4, 5]), abs=1e-4)
    assert first.thoughts[2:4] == (None, None)
    scores = [first.thoughts[number] for number in (0, 1, 4)]
    assert scores == pytest.approx([single.expected for single in singles], abs=1e-4)
    assert np.ptp(scores) > 1e-5
    assert first.thought_texts == (
        "A flat voice.",
        "Slow and calm.",
        "And so",
        "<|AUDIO|>",
        "Loud.",
    )
    assert (second.expected, second.thoughts) == (None, (None,) * 5)
    assert second.state == "the thought did not end within 6 tokens"
    assert Prediction.from_json(json.loads(json.dumps(first.to_json()))) == first


def sampled_texts(judge, records, encoder, **settings):
    predictions = by_key(score(judge, records, encoder, keep_thoughts=True, **settings))
    return {key: prediction.thought_texts for key, prediction in predictions.items()}


@pytest.mark.slow
def test_sampled_thoughts_depend_only_on_seed_record_question_and_number(
    judge, prepared, monkeypatch
):
    records, encoder = prepared(*SAMPLED)
    texts_by_question = sampled_texts(judge, records, encoder)
    all_texts = [text for texts in texts_by_question.values() for text in texts]
    assert len(texts_by_question) == 6
    assert len(set(all_texts)) == len(all_texts) == 18
    assert sampled_texts(judge, records[::-1], encoder, clips_a_batch=1) == texts_by_question
    _, one = prepared(
        *TASK, *SAMPLED[3:], "task.dimensions=[rhythmic_naturalness]", "task.thought_samples=4"
    )
    texts_of_one = sampled_texts(judge, records[1:2], one)
    assert {key: texts[:3] for key, texts in texts_of_one.items()} == {
        key: texts_by_question[key] for key in texts_of_one
    }
    _, other = prepared(*SAMPLED, "task.thought_seed=1")
    others = [text for texts in sampled_texts(judge, records, other).values() for text in texts]
    assert not set(others) & set(all_texts)
    with monkeypatch.context() as patched:
        patched.setattr(generation, "ROWS", 2)
        assert sampled_texts(judge, records, encoder) == texts_by_question
    monkeypatch.setattr(scoring, "supports_cache", lambda model: False)
    assert sampled_texts(judge, records[:1], encoder) == {
        key: texts for key, texts in texts_by_question.items() if key[0] == records[0].id
    }


def test_tokens_are_drawn_from_the_softmax_at_the_temperature():
    logits = torch.tensor([[1.0, 0.0, 3.0, -1.0, 5.0]]).expand(4000, -1)
    sampling = Sampling(seeds=[], temperature=2.0, tokens=4, suppressed=(2,))
    draw = generation._Draw(sampling, range(4000), logits.device)
    counts = np.bincount(draw(logits, ()), minlength=5)
    # Odds e^0.5 : e^0 : e^-0.5; token 2 is suppressed, and the tokenizer has no token 4.
    probabilities = np.exp([0.5, 0, -0.5])
    probabilities /= probabilities.sum()
    assert counts[[2, 4]].tolist() == [0, 0]
    deviations = np.sqrt(4000 * probabilities * (1 - probabilities))
    assert (abs(counts[[0, 1, 3]] - 4000 * probabilities) < 4 * deviations).all()


def test_a_killed_scoring_resumes_with_the_same_thoughts(judge, prepared, tmp_path, monkeypatch):
    # The tiny judge rarely writes </think>, so a letter ends its thoughts here.
    monkeypatch.setattr(record_reply, "THOUGHT", "e")
    records, encoder = prepared(*SAMPLED)

    def run(path, missing):
        stream(
            path, missing, lambda window: score(judge, window, encoder, keep_thoughts=True), clips_a_batch=2
        )  # fmt: skip
        return by_key(read_predictions(path))

    whole = run(tmp_path / "whole.jsonl", records)
    lines = (tmp_path / "whole.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    partial = tmp_path / "torn.jsonl"
    partial.write_text("".join(lines[:2]) + lines[2][:50], encoding="utf-8")
    missing = resume(partial, records, lambda record: 2)
    assert [record.id for record in missing] == [record.id for record in records[1:]]
    resumed = run(partial, missing)
    assert resumed.keys() == whole.keys()
    for key, prediction in resumed.items():
        assert prediction.thought_texts == whole[key].thought_texts
        assert prediction.expected == pytest.approx(whole[key].expected, abs=1e-4)
    assert any(prediction.scored for prediction in resumed.values())


def prediction(at, thoughts, rating, wordings=None):
    given = [score for score in thoughts if score is not None]
    return Prediction(
        id=str(at), dimension="d", scale=(1.0, 2.0, 3.0, 4.0, 5.0), distribution=None,
        expected=float(np.mean(given)) if given else None, ratings=(rating,),
        state="scored" if given else "the thought did not end", thoughts=tuple(thoughts),
        wordings=wordings,
    )  # fmt: skip


def test_spread_and_correlation_of_thoughts_by_hand():
    predictions = [
        prediction(0, (1.0, 3.0, 2.0), 1.0),
        prediction(1, (2.0, 2.0, None), 2.0),
        prediction(2, (3.0, 1.0, 2.0), 3.0),
        prediction(3, (None, None, None), 3.0),
    ]
    summary = with_thoughts(summarise(predictions, ["d"], seed=0, draws=0), predictions)
    figures = summary["dimensions"]["d"]["thought"]
    # Sums of squares 2, 0, 2 with 2, 1, 2 degrees of freedom; Pearson 1, -1, and undefined for the third thought.
    assert figures["spread"] == pytest.approx((4 / 5) ** 0.5)
    assert figures["pearson_single"] == pytest.approx(0)
    assert (figures["samples"], figures["thoughts"], figures["unscored"]) == (3, 12, 4)
    assert summary["macro"]["thought"] == figures
    text = thought_text(summary)
    assert text.startswith("Over 3 sampled thoughts a score varies by 0.894")
    assert "4 of 12 thoughts have no score" in text


def test_a_spread_over_different_scales_is_stated_in_ranges():
    """The scores deviate by 0.4 on the scale 1-5 and by 0.2 on 1-3: a tenth of either range."""
    predictions = []
    for key, scale, deviates in (("a", (1.0, 5.0), 0.4), ("b", (1.0, 2.0, 3.0), 0.2)):
        for rating in (1.0, 2.0, 2.5):
            scores = (rating, rating + deviates * 2**0.5)
            one = prediction(rating, scores, rating)
            predictions.append(replace(one, dimension=key, scale=scale))
    wordings = [replace(one, thoughts=None, wordings=one.thoughts) for one in predictions]
    text = "a score varies by 0.100 of a scale's range (standard deviation)"
    summary = summarise(predictions, ["a", "b"], seed=0, draws=0)
    assert f"Over 2 sampled thoughts {text}" in thought_text(with_thoughts(summary, predictions))
    assert f"Over 2 wordings {text}" in wording_text(with_wordings(summary, wordings))


def test_the_spread_between_thoughts_excludes_the_spread_between_wordings():
    predictions = [prediction(at, (1.0, 2.0, 4.0, 5.0), at, (1.5, 4.5)) for at in (1.0, 2.0)]
    summary = with_thoughts(summarise(predictions, ["d"], seed=0, draws=0), predictions)
    assert summary["macro"]["thought"]["samples"] == 2
    assert summary["macro"]["thought"]["spread"] == pytest.approx(0.5**0.5)
    assert deviation(np.array([[1.0, np.nan]])) is None


def test_one_greedy_thought_has_no_metrics():
    greedy = Prediction(
        id="a", dimension="d", scale=(1.0, 2.0), distribution=None, expected=1.0, ratings=(1.0,),
        state="scored",
    )  # fmt: skip
    assert not {"thoughts", "thought_texts"} & set(greedy.to_json())
    summary = with_thoughts(summarise([greedy], ["d"], seed=0, draws=0), [greedy])
    assert "thought" not in summary["macro"]
    assert thought_text(summary) is None


@pytest.mark.parametrize(
    ("samples", "thoughts", "groups"),
    # There is a batch of two records and one of one record, with two questions each. With 1 or 3 thoughts each batch is
    # one group. 20 thoughts of a question are divided into groups of 16 and of 4; a group of 16 has only one question.
    [(1, 6, 2), (3, 18, 2), pytest.param(20, 120, 8, marks=pytest.mark.slow)],
)
def test_the_planned_cost_of_thoughts_equals_the_passes_of_scoring(
    judge, prepared, monkeypatch, samples, thoughts, groups
):
    records, encoder = prepared(*TASK, DIMENSIONS, f"task.thought_samples={samples}")
    cost = thought_cost({"train": records, "test": records}, encoder.task, clips_a_batch=2)
    assert (cost.questions, cost.thoughts, cost.tokens) == (6, thoughts, 6 * thoughts)
    assert cost.passes == 6 * groups
    # One prompt for each question, and with 20 thoughts a second one for the thoughts after the sixteenth.
    assert cost.prompts == (12 if samples == 20 else 6)
    timed = cost.timed(GenerationTime(prompt=2.0, step=0.5))
    assert timed.seconds == 2.0 * cost.prompts + 0.5 * cost.passes
    passes_begun, begin = [], scoring.Passes.begin
    monkeypatch.setattr(
        scoring.Passes, "begin", lambda *given: passes_begun.append(given) or begin(*given)
    )
    score(judge, records, encoder, clips_a_batch=2)
    assert len(passes_begun) == groups
    _, without = prepared(*TASK, DIMENSIONS, "task.thought_in_scoring=skip")
    assert thought_cost({"test": records}, without.task, clips_a_batch=2) is None
