"""Controls that remove the sound: each changes only the clip."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from dramaeval.data.problems import BadRecordsError
from dramaeval.evaluation.controls.control_context import NotPossibleError
from dramaeval.evaluation.controls.shuffled_audio import exchanged, shuffled_audio
from dramaeval.evaluation.controls.silence import silence
from dramaeval.evaluation.controls.transcript_only import transcript_only
from dramaeval.stages.builders import build_task


def values(predictions):
    return np.array([prediction.expected for prediction in predictions])


def asked(predictions):
    return [
        (prediction.id, prediction.dimension, prediction.ratings, prediction.group)
        for prediction in predictions
    ]


def test_every_clip_is_exchanged_and_used_once(build_context):
    records = build_context().records
    exchanged_records = exchanged(records, 0)
    assert all(new.clip != old.clip for new, old in zip(exchanged_records, records, strict=True))
    assert sorted(entry.clip for entry in exchanged_records) == sorted(
        record.clip for record in records
    )
    lengths = {record.clip: record.seconds for record in records}
    assert all(entry.seconds == lengths[entry.clip] for entry in exchanged_records)
    assert [entry.fields for entry in exchanged_records] == [record.fields for record in records]
    assert [record.clip for record in exchanged(records, 0)] == [
        entry.clip for entry in exchanged_records
    ]
    assert [record.clip for record in exchanged(records, 1)] != [
        entry.clip for entry in exchanged_records
    ]


def test_records_of_one_clip_get_another(build_context):
    records = build_context().records
    same = [replace(record, clip=records[0].clip) for record in records[:3]] + records[3:]
    exchanged_records = exchanged(same, 0)
    assert all(new.clip != old.clip for new, old in zip(exchanged_records, same, strict=True))
    with pytest.raises(NotPossibleError, match="two different clips"):
        exchanged(same[:3], 0)


def test_shuffled_audio_is_the_judge_with_another_clip(build_context):
    context = build_context()
    result = shuffled_audio(context)
    judge = context.score(context.records, context.record_encoder)
    assert asked(result) == asked(judge)
    assert abs(values(result) - values(judge)).max() > 1e-4
    first = replace(context.records[0], clip=exchanged(context.records, 0)[0].clip)
    alone = context.score([first], context.record_encoder)
    np.testing.assert_allclose(values(result)[:2], values(alone), atol=1e-4)


def test_silence_is_a_clip_of_zeros_of_the_same_length(build_context, tmp_path):
    context = build_context()
    result = silence(context)
    quiet = []
    for number, record in enumerate(context.records):
        path = tmp_path / f"quiet{number}.wav"
        soundfile.write(path, np.zeros(round(record.seconds * 16_000)), 16_000)
        quiet.append(replace(record, clip=path))
    reference = context.score(quiet, context.record_encoder)
    assert asked(result) == asked(reference)
    np.testing.assert_allclose(values(result), values(reference), atol=1e-4)


@pytest.mark.parametrize("shots", [0, 2])
def test_without_audio_the_clips_do_not_matter(build_context, shots):
    context = build_context(f"task.shots={shots}")
    result = transcript_only(context)
    for record in context.records:
        record.clip.unlink()
    again = transcript_only(context)
    assert values(again).tolist() == values(result).tolist()
    # The judge's own encoder needs the clip.
    with pytest.raises(BadRecordsError, match="no such file"):
        context.record_encoder.encode(context.records[0], context.task.dimensions)


def test_a_judge_without_audio_has_no_such_controls(build_context, monkeypatch):
    context = build_context()
    monkeypatch.setattr(type(context.record_encoder.family), "takes_audio", False)
    for control in (shuffled_audio, silence, transcript_only):
        with pytest.raises(NotPossibleError, match="takes no audio"):
            control(context)


@pytest.mark.parametrize("control", [silence, shuffled_audio, transcript_only])
def test_controls_without_sound_are_refused_with_given_thoughts(build_context, composed, control):
    task = build_task(composed("task=role_caption", "task.thought_in_scoring=given"))
    with pytest.raises(NotPossibleError, match="describes the right sound"):
        control(build_context(task=task))
