"""Predictions of a judge behind an endpoint."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from chat_endpoint import loudness

from dramaeval.data.problems import BadRecordsError
from dramaeval.evaluation.endpoint.scoring import EndpointJudge
from dramaeval.stages.api_context import ApiEncoder
from dramaeval.stages.builders import build_task

RHYTHM = "task.dimensions=[rhythmic_naturalness]"


@pytest.fixture
def judge_of(client_of):
    def build(**settings):
        return EndpointJudge(client_of(**settings), max_seconds=30, seed=0)

    return build


@pytest.fixture
def encoder_of(composed):
    def build(*overrides):
        return ApiEncoder(build_task(composed(*overrides)), None)

    return build


@pytest.fixture
def records(encoder_of, make_clips):
    return encoder_of(RHYTHM).task.read(make_clips("test", 4)).records


def score(judge, records, encoder, **options):
    return judge.score(records, encoder, group_by="character", **options)


def test_logprobs_become_the_distribution(endpoint, judge_of, encoder_of, records):
    predictions = score(judge_of(), records, encoder_of(RHYTHM))
    assert [each.id for each in predictions] == [record.id for record in records]
    for record, prediction in zip(records, predictions, strict=True):
        samples, _ = soundfile.read(record.clip)
        level = int(np.clip(round(1 + 20 * np.sqrt(np.mean(samples**2))), 1, 5))
        other = level - 1 if level > 1 else 2
        assert prediction.expected == pytest.approx(0.75 * level + 0.25 * other)
        assert prediction.distribution[level - 1] == pytest.approx(0.75)
        assert prediction.ratings == record.ratings["rhythmic_naturalness"]
    assert len({prediction.expected for prediction in predictions}) > 1


def test_the_prompt_is_that_of_the_task_with_the_clip_as_audio(
    endpoint, judge_of, encoder_of, records
):
    encoder = encoder_of(RHYTHM)
    score(judge_of(), records[:1], encoder)
    (body,) = endpoint.bodies
    (question,) = encoder.task.questions(records[0], encoder.task.dimensions)
    system, user = body["messages"]
    assert system == question.messages[0]
    audio, text = user["content"]
    assert audio["type"] == "input_audio"
    assert text == question.messages[1]["content"][1]
    assert (body["temperature"], body["logprobs"], body["top_logprobs"]) == (0, True, 20)


@pytest.mark.parametrize(("logprobs", "many"), [(False, True), ("refused", True), (False, False)])
def test_without_logprobs_samples_give_the_distribution(
    endpoint, judge_of, encoder_of, records, logprobs, many
):
    endpoint.logprobs, endpoint.many = logprobs, many
    texts = [f"<answer>{score}</answer>" for score in (2, 2, 3, 5)]
    endpoint.answers = lambda body: (texts[body.get("seed", 0) % 4 :][: body.get("n", 1)], {})
    judge = judge_of(samples=4, concurrency=1)
    first, second = score(judge, records[:2], encoder_of(RHYTHM))
    assert first.distribution == second.distribution == (0, 0.5, 0.25, 0, 0.25)
    # Only the first request asks for logprobs, since its reply has none.
    assert [body.get("n") for body in endpoint.bodies] == [
        None,
        *([4, 4] if many else [4, 3, 2, 1] * 2),
    ]


def test_a_question_without_a_readable_answer_is_unscored_with_its_reason(
    endpoint, judge_of, encoder_of, records
):
    levels = {record.id: soundfile.read(record.clip)[0].std() for record in records}
    silent = min(levels, key=levels.get)

    def answers(body):
        quiet = loudness(body) < 1.01 * levels[silent]
        return (["I would rather not say."] if quiet else ["<answer>3</answer>"]), {}

    endpoint.answers = answers
    states = {p.id: p.state for p in score(judge_of(), records, encoder_of(RHYTHM))}
    assert states.pop(silent) == "the answer is not on the scale: 'I would rather not say.'"
    assert set(states.values()) == {"scored"}


def test_a_permanent_error_leaves_a_question_unscored(endpoint, judge_of, encoder_of, records):
    endpoint.faults = [500, 500]
    judge = judge_of(retries=1, concurrency=1)
    first, *others = score(judge, records, encoder_of(RHYTHM))
    assert first.state == "no reply after 2 attempts: status 500: out of order"
    assert all(each.scored for each in others)


def test_all_dimensions_are_read_from_one_answer(endpoint, judge_of, encoder_of, records):
    encoder = encoder_of("task=role_all", "task.dimensions=[pitch_dynamics,rhythmic_naturalness]")
    labels = [f"[{dimension.label}]" for dimension in encoder.task.dimensions]
    text = f"<answer>{labels[0]}2{labels[1]}4</answer>"
    endpoint.answers = lambda body: ([text], {"2": 0.9, "4": 0.1})
    endpoint.logprobs = True
    pitch, rhythm = score(judge_of(), records[:1], encoder)
    assert len(endpoint.bodies) == 1
    np.testing.assert_allclose(pitch.distribution, [0, 0.9, 0, 0.1, 0])
    np.testing.assert_allclose(rhythm.distribution, [0, 0.9, 0, 0.1, 0])


def test_an_unreadable_clip_stops_or_is_left_out(judge_of, encoder_of, records):
    records[1].clip.write_bytes(b"RIFF but not audio")
    with pytest.raises(BadRecordsError, match="clip"):
        score(judge_of(), records, encoder_of(RHYTHM))
    first, second, *_ = score(judge_of(), records, encoder_of(RHYTHM), skip_unreadable=True)
    assert first.scored
    assert second.state.startswith("unreadable clip: ")


def test_a_restart_after_a_stop_requests_only_the_missing_replies(
    endpoint, judge_of, encoder_of, records
):
    endpoint.faults = []
    score(judge_of(), records[:3], encoder_of(RHYTHM))
    judge = judge_of()
    predictions = score(judge, records, encoder_of(RHYTHM))
    assert (judge.client.usage.from_cache, judge.client.usage.requests) == (3, 1)
    assert len(predictions) == len(endpoint.bodies) == 4


@pytest.mark.parametrize(
    ("part", "audio"),
    [
        ({"audio_url": "test0.wav"}, None),
        ({"audio": "test0.wav"}, None),
        ({"path": "test0.wav"}, None),
        ({"audio_url": ""}, "test0.wav"),
        ({}, "test0.wav"),
        ({}, "samples"),
        ({"audio_url": ""}, "samples"),
    ],
)
def test_every_form_of_a_processed_record_sends_the_records_clip(
    endpoint, judge_of, encoder_of, make_clips, tmp_path, part, audio
):
    """The JSONL is not in the working folder, so that its relative paths lead to no file there."""
    make_clips("test", 2)
    samples, _ = soundfile.read(tmp_path / "test0.wav", dtype="float32")
    content = [{"type": "audio", **part}, {"text": "How loud is it?"}]
    line = {"prompt": [{"role": "user", "content": content}], "solution": "<answer>4</answer>"}
    if audio is not None:
        line["audio"] = samples.tolist() if audio == "samples" else audio
    file = tmp_path / "processed.jsonl"
    file.write_text(json.dumps(line) + "\n")
    encoder = encoder_of("task=processed")
    (prediction,) = score(judge_of(), encoder.task.read(file).records, encoder)
    assert prediction.scored, prediction.state
    (body,) = endpoint.bodies
    sent, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "How loud is it?"}
    data = io.BytesIO(base64.b64decode(sent["input_audio"]["data"]))
    np.testing.assert_allclose(soundfile.read(data)[0], samples, atol=2**-15)
