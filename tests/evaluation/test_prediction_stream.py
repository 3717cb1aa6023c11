"""Appending to a predictions file: complete records are kept after an interruption, incomplete ones are scored again."""

import json
from types import SimpleNamespace

import pytest

from dramaeval.data import growing_file
from dramaeval.data.growing_file import GrowingFile, undamaged_bytes
from dramaeval.data.manifest import damage_of, listed_entry
from dramaeval.evaluation.prediction_stream import BATCHES_A_WRITE, resume, stream
from dramaeval.evaluation.predictions import PredictionsError, prediction_line, read_predictions

DIMENSIONS = ("pitch", "stress")


@pytest.fixture
def records():
    return [SimpleNamespace(id=f"clip-{number}") for number in range(11)]


@pytest.fixture
def scorer(make_prediction):
    """A function that scores two dimensions of each record and stores the ids of each call."""

    class Scorer:
        def __init__(self):
            self.windows = []

        def __call__(self, window):
            self.windows.append([record.id for record in window])
            return [
                make_prediction(record.id, 3.0, (), dimension=dimension)
                for record in window
                for dimension in DIMENSIONS
            ]

    return Scorer()


def number_of_questions(record):
    return len(DIMENSIONS)


def scored_ids(path):
    return [prediction.id for prediction in read_predictions(path)]


def test_a_new_file_has_every_record_in_order(tmp_path, records, scorer):
    path = tmp_path / "predictions.jsonl"
    stream(path, resume(path, records, number_of_questions), scorer, clips_a_batch=1)
    assert scored_ids(path) == [record.id for record in records for _ in DIMENSIONS]
    assert [len(window) for window in scorer.windows] == [BATCHES_A_WRITE, 11 - BATCHES_A_WRITE]


@pytest.mark.parametrize("cut", [1, 40, 118, 119, 120, 300, -1, 10**6])
def test_a_file_cut_off_by_a_kill_is_completed(tmp_path, monkeypatch, records, scorer, cut):
    """The process is killed during an append, before the manifest lists it."""
    path = tmp_path / "predictions.jsonl"
    with monkeypatch.context() as killed:
        killed.setattr(growing_file, "list_file", lambda *_: None)
        stream(path, resume(path, records, number_of_questions), scorer, clips_a_batch=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    lines = path.read_bytes().decode().split("\n")[:-1]
    complete = len(lines) // len(DIMENSIONS)
    missing = resume(path, records, number_of_questions)
    assert [record.id for record in missing] == [record.id for record in records[complete:]]
    stream(path, missing, scorer, clips_a_batch=1)
    assert path.read_bytes() == whole


def damaged(content):
    """The content cut off, and with one byte changed, at several places: (description, place, damaged content)."""
    for at in (0, 1, len(content) // 3, len(content) // 2, len(content) - 1):
        yield f"cut off after {at}", at, content[:at]
        yield f"changed at {at}", at, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_appends_before_the_damage_of_a_file_are_kept(tmp_path, records, scorer, caplog):
    """A changed digit is still valid JSON, so hashes detect the damage. The first of two appends has eight records."""
    path = tmp_path / "predictions.jsonl"
    stream(path, resume(path, records, number_of_questions), scorer, clips_a_batch=1)
    whole = path.read_bytes()
    first = len(b"".join(whole.splitlines(keepends=True)[: BATCHES_A_WRITE * len(DIMENSIONS)]))
    for number, (name, at, content) in enumerate(damaged(whole), 1):
        path.write_bytes(content)
        missing = resume(path, records, number_of_questions)
        kept = BATCHES_A_WRITE if at >= first else 0
        assert [record.id for record in missing] == [record.id for record in records[kept:]], name
        assert "it has other bytes than were written" in caplog.text
        assert len(list(tmp_path.glob("*.damaged*"))) == number
        stream(path, missing, scorer, clips_a_batch=1)
        assert path.read_bytes() == whole
        assert resume(path, records, number_of_questions) == []


def test_many_appends_are_listed_in_few_parts(tmp_path):
    path = tmp_path / "lines"
    file = GrowingFile(path)
    for number in range(500):
        file.append(f"{number}\n")
        parts = listed_entry(path)["parts"]
        assert parts[-1][0] == path.stat().st_size
        assert len(parts) <= 64
    file.close()
    content = path.read_bytes()
    assert undamaged_bytes(path, content) is None
    assert damage_of(path) is None
    # Damage near the end leaves more than 90 % of the file undamaged.
    assert undamaged_bytes(path, content[:-1]) > 0.9 * len(content)


def test_a_cut_inside_a_character_is_repaired(tmp_path, records, make_prediction):
    path = tmp_path / "predictions.jsonl"
    line = prediction_line(make_prediction("clip-0", 3.0, (), dimension="语调")).encode()
    path.write_bytes(line[: line.index("语".encode()) + 1])
    assert len(resume(path, records, number_of_questions)) == len(records)
    assert path.read_bytes() == b""


def test_records_without_questions_are_complete(tmp_path, records):
    path = tmp_path / "predictions.jsonl"
    missing = resume(path, records, lambda record: int(record.id != "clip-3"))
    assert "clip-3" not in [record.id for record in missing]
    assert len(missing) == len(records) - 1


def test_a_file_of_other_records_is_refused(tmp_path, records, make_prediction):
    path = tmp_path / "predictions.jsonl"
    path.write_text(prediction_line(make_prediction("other", 3.0, ())) + "\n", encoding="utf-8")
    with pytest.raises(PredictionsError, match=r"line 1: other is not among the records"):
        resume(path, records, number_of_questions)


def test_a_broken_line_in_the_middle_is_an_error(tmp_path, records, make_prediction):
    path = tmp_path / "predictions.jsonl"
    good = prediction_line(make_prediction("clip-0", 3.0, ()))
    path.write_text(f"{good}\n{json.dumps({'id': 'clip-1'})}\n{good}\n", encoding="utf-8")
    with pytest.raises(PredictionsError, match="line 2"):
        resume(path, records, number_of_questions)
