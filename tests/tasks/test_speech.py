"""The task speech, for any rated speech: the transcript is optional, and the context may be empty."""

import json

import pytest

from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.builders import build_task


@pytest.fixture
def speech(composed, tmp_path):
    def read(*records, overrides=()):
        file = tmp_path / "a.jsonl"
        numbered = [{"id": f"r{n}", "wav_path": "a.wav", **r} for n, r in enumerate(records)]
        file.write_text("".join(json.dumps(r) + "\n" for r in numbered), encoding="utf-8")
        task = build_task(composed("task=speech", f"task.data.test={file}", *overrides))
        return task, task.read(file, reads_audio=False).records

    return read


def prompt_text(task, record):
    (question,) = task.questions(record, task.dimensions)
    return question.messages[1]["content"][-1]["text"]


def test_the_prompt_has_no_transcript_line_where_the_record_has_no_transcript(speech):
    rated = {"naturalness": 3.4}
    task, records = speech({"transcript": " Hello. ", **rated}, rated, {"transcript": "", **rated})
    criterion = task.criterion(task.dimensions[0])
    assert [prompt_text(task, record) for record in records] == [
        f"Transcript: Hello.\n{criterion}",
        criterion,
        criterion,
    ]
    assert task.texts(records[0]) == {"transcript": "Hello."}
    assert task.texts(records[1]) == {}
    assert list(task.remarks(records).values()) == [2]
    assert task.remarks(records[:1]) == task.remarks(records[1:]) == {}


def test_the_fields_of_the_context_are_required(speech):
    style = ("task.context='Style: {style}'",)
    record = {"style": "calm", "naturalness": [4, 5]}
    task, records = speech(record, {**record, "transcript": "Hi."}, overrides=style)
    assert prompt_text(task, records[0]).startswith("Style: calm\nNaturalness:")
    assert prompt_text(task, records[1]).startswith("Style: calm\nTranscript: Hi.\nNaturalness:")
    with pytest.raises(BadRecordsError, match='give every record a "style"'):
        speech({"naturalness": [4]}, overrides=style)
    with pytest.raises(BadRecordsError, match="a number where a string is"):
        speech({"naturalness": [4], "transcript": 3})


def test_an_optional_context_that_is_not_a_list_is_refused(speech):
    with pytest.raises(Exception, match="must be a list of texts"):
        speech({"naturalness": 4}, overrides=("task.optional_context=Said",))
