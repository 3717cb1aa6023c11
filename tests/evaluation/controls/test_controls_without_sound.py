"""Controls that remove the sound: each changes only the clip."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from dramaeval.data.audio import decode
from dramaeval.data.inline_audio import INLINE, clip_samples
from dramaeval.data.problems import BadRecordsError
from dramaeval.evaluation.controls.control_context import NotPossibleError
from dramaeval.evaluation.controls.duration import duration
from dramaeval.evaluation.controls.prosody import prosody
from dramaeval.evaluation.controls.shuffled_audio import exchanged, shuffled_audio
from dramaeval.evaluation.controls.silence import silence
from dramaeval.evaluation.controls.transcript_only import transcript_only
from dramaeval.stages.builders import build_task


def values(predictions):
    return np.array([prediction.expected for prediction in predictions])


def questions_of(predictions):
    return [
        (prediction.id, prediction.dimension, prediction.ratings, prediction.group)
        for prediction in predictions
    ]


def test_each_record_gets_the_clip_of_another_and_each_clip_is_used_once(build_context):
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


def test_records_that_share_a_clip_get_another_clip(build_context):
    records = build_context().records
    same = [replace(record, clip=records[0].clip) for record in records[:3]] + records[3:]
    exchanged_records = exchanged(same, 0)
    assert all(new.clip != old.clip for new, old in zip(exchanged_records, same, strict=True))
    with pytest.raises(NotPossibleError, match="two different clips"):
        exchanged(same[:3], 0)


def test_shuffled_audio_scores_records_with_exchanged_clips(build_context):
    context = build_context()
    result = shuffled_audio(context)
    judge = context.score(context.records, context.record_encoder)
    assert questions_of(result) == questions_of(judge)
    assert abs(values(result) - values(judge)).max() > 1e-4
    first = replace(context.records[0], clip=exchanged(context.records, 0)[0].clip)
    score_of_one = context.score([first], context.record_encoder)
    np.testing.assert_allclose(values(result)[:2], values(score_of_one), atol=1e-4)


def test_silence_is_a_clip_of_zeros_of_the_same_length(build_context, tmp_path):
    context = build_context()
    result = silence(context)
    silent_records = []
    for number, record in enumerate(context.records):
        path = tmp_path / f"quiet{number}.wav"
        soundfile.write(path, np.zeros(round(record.seconds * 16_000)), 16_000)
        silent_records.append(replace(record, clip=path))
    reference = context.score(silent_records, context.record_encoder)
    assert questions_of(result) == questions_of(reference)
    np.testing.assert_allclose(values(result), values(reference), atol=1e-4)


@pytest.mark.parametrize("shots", [0, 2])
def test_transcript_only_does_not_read_the_clips(build_context, shots):
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
    """Its records have clips without a length, which are not looked for on the disk."""
    context = build_context()
    context = replace(context, train=[replace(record, seconds=0.0) for record in context.train])
    monkeypatch.setattr(type(context.record_encoder.family), "takes_audio", False)
    for control in (shuffled_audio, silence, transcript_only, prosody, duration):
        with pytest.raises(NotPossibleError, match="takes no audio"):
            control(context)


@pytest.mark.parametrize("control", [silence, shuffled_audio, transcript_only])
def test_controls_without_sound_are_refused_with_given_thoughts(build_context, composed, control):
    task = build_task(composed("task=role_caption", "task.thought_in_scoring=given"))
    with pytest.raises(NotPossibleError, match="describes the right sound"):
        control(build_context(task=task))


def test_samples_in_lines_are_exchanged_as_files_are(build_context):
    """The first three records have their samples in the line; two of these have the same samples."""
    records = build_context().records
    waves = [decode(record.clip, 16_000) for record in records]
    waves[1] = waves[0]
    mixed = [
        replace(record, clip=INLINE, fields={**record.fields, "audio": wave.tolist()})
        for record, wave in zip(records[:3], waves, strict=False)
    ] + records[3:]
    for some in (mixed, mixed[:3]):
        new = [clip_samples(record, 16_000, 30) for record in exchanged(some, 0)]
        assert not any(map(np.array_equal, new, waves))
    with pytest.raises(NotPossibleError, match="two different clips"):
        exchanged(mixed[:2], 0)
