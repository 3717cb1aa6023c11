"""Pairs scored by the tiny judge: scores equal those of single clips, in any order, batch and layout."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from dramaeval import Judge
from dramaeval.evaluation.scoring import score
from dramaeval.models.forward.answer_distributions import scale_log_p
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.training.objectives import bradley_terry

DIMENSIONS = "task.dimensions=[human_likeness,appropriateness]"


@pytest.fixture(scope="module")
def judge():
    return Judge.load("tiny", device="cpu")


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of clips of different lengths, with votes."""
    rng = np.random.default_rng(0)
    for name, seconds in (("x", 0.5), ("y", 1.3), ("z", 0.9)):
        soundfile.write(tmp_path / f"{name}.wav", rng.normal(0, 0.1, int(16_000 * seconds)), 16_000)
    lines = [
        {
            "id": f"p{number}", "question": f"You are pilot {number}. You say:", "wav_path_a": f"{a}.wav",
            "wav_path_b": f"{b}.wav", "system_a": a, "language": "en",
            "annotations": {"human_likeness": ["a", "tie"], "appropriateness": [-1, None]},
        }
        for number, (a, b) in enumerate(["xy", "zx"])
    ]  # fmt: skip
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def encoder_of(judge, task):
    return RecordEncoder(task, judge.processor, judge.family, max_seconds=30, cache_clips=10)


def scored(judge, task, records, **options):
    return score(judge.model, records, encoder_of(judge, task), **options)


def with_exchanged_clips(record):
    """The record with its clips exchanged."""
    return replace(
        record,
        clip=record.clip_b,
        seconds=record.seconds_b,
        clip_b=record.clip,
        seconds_b=record.seconds,
    )


@pytest.mark.slow
def test_each_clip_has_the_score_that_it_has_by_itself(judge, composed, pairs):
    task = build_task(composed("task=pair", DIMENSIONS, "task.slope=1.5", "task.tie_weight=0.4"))
    records = task.read(pairs).records
    predictions = scored(judge, task, records)
    assert [(p.id, p.dimension) for p in predictions] == [
        (f"p{number}", key) for number in (0, 1) for key in ("human_likeness", "appropriateness")
    ]
    for prediction in predictions:
        question = next(r for r in records if r.id == prediction.id).fields["question"]
        a, b = (
            judge.score(clip, "archetype", question=question)[prediction.dimension].expected
            for clip in (prediction.clip_a, prediction.clip_b)
        )
        assert prediction.margin == pytest.approx(a - b, abs=1e-5)
        odds = np.array([np.exp(0.75 * (b - a)), 0.4, np.exp(0.75 * (a - b))])
        p_b, p_tie, p_a = odds / odds.sum()
        assert prediction.outcomes == pytest.approx((p_a, p_tie, p_b), abs=1e-5)
    first, second = predictions[:2]
    assert (first.votes, second.votes) == ((1.0, 0.0), (-0.5, None))
    assert (first.prompt, first.system_a, first.system_b) == (
        "You are pilot 0. You say:",
        "x",
        None,
    )
    assert first.language == "en"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair", "pair_direct"])
def test_a_pair_with_exchanged_clips_has_exactly_the_reversed_answers(judge, composed, pairs, name):
    task = build_task(composed(f"task={name}", DIMENSIONS))
    records = task.read(pairs).records
    one_way = scored(judge, task, records)
    other_way = scored(judge, task, list(map(with_exchanged_clips, records)))
    for prediction, exchanged in zip(one_way, other_way, strict=True):
        assert exchanged.outcomes == prediction.outcomes[::-1]  # to the last bit
    # The answers do not depend on the batch size, the order of records or the layout either.
    for options in ({"clips_a_batch": 1}, {"shared_prefix": False}):
        for prediction, other in zip(one_way, scored(judge, task, records, **options), strict=True):
            assert other.outcomes == pytest.approx(prediction.outcomes, abs=1e-5)
    backwards = scored(judge, task, records[::-1])
    by_key = {(each.id, each.dimension): each for each in backwards}
    for prediction in one_way:
        other = by_key[prediction.id, prediction.dimension]
        assert other.outcomes == pytest.approx(prediction.outcomes, abs=1e-5)


@pytest.mark.slow
def test_direct_answers_are_the_mean_of_both_orders(judge, composed, pairs):
    task = build_task(composed("task=pair_direct", "task.dimensions=[human_likeness]"))
    record, _ = task.read(pairs).records
    (prediction,) = scored(judge, task, [record])
    encoder = encoder_of(judge, task)
    orders = {}
    for question in task.questions(record, task.dimensions):
        encoded = encoder.encode(record, [question])
        batch = collate([encoded], pad=encoder.pad)
        with torch.inference_mode():
            log_p = scale_log_p(judge.model(**batch.inputs).logits, batch)[0]
        second, tie, first = log_p.exp().tolist()  # B, tie, A
        by_clip = (first, tie, second) if question.pair.order == "ab" else (second, tie, first)
        orders[question.pair.order] = by_clip
    assert prediction.order_ab == pytest.approx(orders["ab"], abs=1e-5)
    assert prediction.order_ba == pytest.approx(orders["ba"], abs=1e-5)
    mean = [(x + y) / 2 for x, y in zip(orders["ab"], orders["ba"], strict=True)]
    assert prediction.outcomes == pytest.approx(mean, abs=1e-5)
    assert prediction.margin is None
    assert sum(prediction.outcomes) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_a_training_batch_has_the_loss_of_the_scores(judge, composed, pairs):
    task = build_task(composed("task=pair", DIMENSIONS, "task.slope=2"))
    records = task.read(pairs).records
    encoder = encoder_of(judge, task)
    rng = np.random.default_rng(0)
    encoded = [
        encoder.encode(record, task.questions(record, dims, rng), task.targets(record, dims, rng))
        for record in records
        if (dims := task.dimensions_for(record))
    ]
    batch = collate(encoded, pad=encoder.pad)
    with torch.inference_mode():
        losses = bradley_terry(judge.model(**batch.inputs).logits, batch)
    expected = {}
    for prediction in scored(judge, task, records):
        votes = [vote for vote in prediction.votes if vote is not None]
        a, b = np.mean(np.clip(votes, 0, 1)), np.mean(np.clip([-v for v in votes], 0, 1))
        loss = -np.dot([a, 1 - a - b, b], np.log(prediction.outcomes))
        expected[prediction.id, prediction.dimension] = loss
    for key, loss in zip(batch.question_keys, losses.tolist(), strict=True):
        assert loss == pytest.approx(expected[key], abs=1e-5)
    assert batch.clips == 2
    assert batch.questions == 8


@pytest.mark.slow
def test_direct_targets_follow_the_order_of_the_prompt(judge, composed, pairs):
    task = build_task(composed("task=pair_direct", "task.dimensions=[human_likeness]"))
    record, _ = task.read(pairs).records  # votes a and tie: 1/2 for A if clip a is the first clip
    encoder = encoder_of(judge, task)
    targets = task.targets(record, task.dimensions, np.random.default_rng(0))
    encoded = encoder.encode(record, task.questions(record, task.dimensions), targets)
    by_first_clip = {
        len(part.clips[0].values[0]): part.questions[0].target for part in encoded.parts
    }
    (short, a_first), (long, b_first) = sorted(by_first_clip.items())
    assert short < long  # clip a is the shorter
    np.testing.assert_array_equal(a_first, [0, 0.5, 0.5])
    np.testing.assert_array_equal(b_first, [0.5, 0.5, 0])


@pytest.mark.slow
def test_judge_compare_equals_scoring_in_a_run(judge, composed, pairs):
    folder = pairs.parent
    texts = {"question": "You are pilot 0. You say:"}
    task = build_task(composed("task=pair", DIMENSIONS))
    (record, _) = task.read(pairs).records
    dimensions = ["human_likeness", "appropriateness"]
    result = judge.compare(folder / "x.wav", folder / "y.wav", dimensions=dimensions, **texts)
    for prediction in scored(judge, task, [record]):
        assert result[prediction.dimension].margin == pytest.approx(prediction.margin, abs=1e-5)
        assert result[prediction.dimension].p_a == pytest.approx(prediction.p_a, abs=1e-5)
    # Exchanged arrays give exactly the reversed probabilities.
    waves = [soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in "xy"]
    arrays = judge.compare(*waves, dimensions=dimensions, sampling_rate=16_000, **texts)
    reversed_order = judge.compare(
        *waves[::-1], dimensions=dimensions, sampling_rate=16_000, **texts
    )
    for key in dimensions:
        forward = arrays[key]
        assert (reversed_order[key].p_a, reversed_order[key].p_tie, reversed_order[key].p_b) == (
            forward.p_b,
            forward.p_tie,
            forward.p_a,
        )
        assert forward.margin == pytest.approx(result[key].margin, abs=1e-4)
    direct = build_task(composed("task=pair_direct", DIMENSIONS))
    for prediction in scored(judge, direct, [record]):
        one_prompt = judge.compare(
            folder / "x.wav", waves[1], "pair_direct", dimensions=[prediction.dimension], **texts
        )
        assert one_prompt[prediction.dimension].order_ba == pytest.approx(
            prediction.order_ba, abs=1e-4
        )
    with pytest.raises(ValueError, match=r"Judge\.compare"):
        judge.score(folder / "x.wav", "pair_direct", **texts)
    with pytest.raises(ValueError, match="missing: question"):
        judge.compare(folder / "x.wav", folder / "y.wav")
    single = judge.score(folder / "x.wav", "pair", dimensions=dimensions, **texts)
    assert single == judge.score(folder / "x.wav", "archetype", dimensions=dimensions, **texts)
    # As a reward model it gives the mean score of a clip, scaled to 0-1, and refuses clips without scores.
    (reward,) = judge.reward(waves[:1], 16_000, texts, task="pair", dimensions=dimensions).tolist()
    mean = np.mean([single[key].expected for key in dimensions])
    assert reward == pytest.approx((mean - 1) / 4, abs=1e-5)
    with pytest.raises(ValueError, match=r"Judge\.compare"):
        judge.reward(waves[:1], 16_000, texts, task="pair_direct")
