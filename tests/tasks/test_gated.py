"""The task archetype: of a clip that raters reject only the gate question is asked, and null is a missing rating."""

import json

import numpy as np
import pytest
import soundfile
from repository import REAL

from dramaeval.config.problems import ConfigError
from dramaeval.data.records import read_records
from dramaeval.stages.builders import build_task
from dramaeval.training.question_sampler import trainable_dimensions


@pytest.fixture
def records_of(composed, tmp_path):
    def build(votes, quality, *overrides):
        task = build_task(composed("task=archetype", *overrides))
        soundfile.write(tmp_path / "a.wav", np.full(8000, 0.1), 16_000)
        line = {
            "id": "a", "question": "你是法官。你说：", "wav_path": "a.wav",
            "annotations": {"content_pass": votes, "audio_quality": quality,
                            "human_likeness": quality, "appropriateness": quality},
        }  # fmt: skip
        (tmp_path / "a.jsonl").write_text(json.dumps(line, ensure_ascii=False), encoding="utf-8")
        return task, read_records(tmp_path / "a.jsonl", task.record_format()).records[0]

    return build


@pytest.mark.parametrize(
    ("votes", "quality", "asked_dimensions", "trained_dimensions"),
    [
        ([True, True, False], [4, 5, None], 4, 4),
        ([True, False, False], [4, None, None], 1, 1),  # one pass of three is less than a half
        ([False, False, False], [None, None, None], 1, 1),
        ([None, True, None], [None, None, None], 4, 1),  # passed; no other dimension is rated
    ],
)
def test_a_record_passes_the_gate_by_at_least_half_of_the_votes(
    records_of, votes, quality, asked_dimensions, trained_dimensions
):
    task, record = records_of(votes, quality)
    assert len(task.dimensions_for(record)) == asked_dimensions
    assert len(trainable_dimensions(task, record)) == trained_dimensions


def test_rejected_records_and_missing_ratings_are_counted(records_of):
    task, passed = records_of([True, True, False], [4, 5, None])
    _, fully_rated = records_of([True, True, True], [4, 5, 3])
    _, rejected = records_of([False, False, False], [None, None, None])
    found = list(task.remarks([passed, fully_rated, rejected, rejected]).items())
    assert found == [
        ("were passed by too few raters, so only content_pass is asked", 2),
        ("were passed and lack ratings by some raters, which count as missing", 1),
    ]
    assert task.remarks([fully_rated]) == {}


def test_a_higher_gate_share_rejects_more_records(records_of):
    task, record = records_of([True, True, False], [4, 5, None], "task.gate_share=0.7")
    assert [one.key for one in task.dimensions_for(record)] == ["content_pass"]


def test_without_a_gate_rejected_records_are_asked_about_everything(records_of):
    task, record = records_of([False, False, False], [None, None, None], "task.gate_share=0")
    assert task.dimensions_for(record) == task.dimensions


def test_the_gate_applies_where_only_other_dimensions_are_selected(records_of):
    overrides = ["task.dimensions=[audio_quality]"]
    task, record = records_of([False, False], [None, None], *overrides)
    assert task.dimensions_for(record) == ()
    assert trainable_dimensions(task, record) == []
    task, record = records_of([True, True], [3, None], *overrides)
    assert [one.key for one in task.dimensions_for(record)] == ["audio_quality"]


def test_a_missing_rating_is_not_part_of_the_target(records_of):
    task, record = records_of([True, True, False], [4, 5, None])
    target = task.target(record, task.dimensions[1], np.random.default_rng(0))
    np.testing.assert_allclose(target, [0, 0, 0, 0.5, 0.5])


def test_the_prompt_has_the_question_of_the_record_unchanged(records_of):
    task, record = records_of([True], [3])
    text = task.messages(record, task.dimensions[0])[1]["content"][1]["text"]
    assert text.startswith("Prompt: 你是法官。你说：\nContent: ")


def test_wrong_gates_are_refused(composed):
    with pytest.raises(ConfigError, match="must be a pass/fail dimension"):
        build_task(composed("task=archetype", "task.gate=audio_quality"))
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        build_task(composed("task=archetype", "task.gate_share=1.5"))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real clips are not at {REAL}")
def test_the_real_records_have_one_rejected_and_one_passed_clip(composed):
    task = build_task(composed("task=archetype"))
    found = read_records(REAL / "archetype" / "test.jsonl", task.record_format()).records
    assert [len(task.dimensions_for(record)) for record in found] == [1, 4]


def test_without_ratings_all_questions_are_asked(records_of):
    """Otherwise the raters' votes would decide which scores count for the rank of a system."""
    task, record = records_of([False, False], [None, None])
    assert len(task.dimensions_for(record)) == 1
    assert task.without_ratings().dimensions_for(record) == task.dimensions
    assert len(task.dimensions_for(record)) == 1
