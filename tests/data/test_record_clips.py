"""The clips of records: missing, unreadable, long and short clips; and the published records."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rated_lines import FORMAT, line

from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import AnnotationField, RecordFormat, read_records

Writer = Callable[..., Path]
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "speech_drame"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.wav", b"", "empty (0 bytes)"),
        ("text.wav", b"this is not audio\n" * 50, "not an audio format|neither libsndfile"),
        ("gone.wav", None, "no such file: gone.wav"),
    ],
)
def test_clips_that_cannot_be_read_are_refused(
    problems_of: Any, folder: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    (found,) = problems_of(line(1), line(2, wav_path=name))
    assert (found.line, found.id, found.key) == (2, "r2", "wav_path")
    assert any(part in found.problem for part in problem.split("|"))
    assert name in found.problem


def test_a_folder_as_clip_is_refused(problems_of: Any, folder: Path) -> None:
    (folder / "clips").mkdir()
    (found,) = problems_of(line(1, wav_path="clips"))
    assert found.key == "wav_path"


@pytest.mark.parametrize("path", ["a\0b.wav", "x" * 5_000, ".", "/", "//"])
def test_invalid_paths_of_clips_are_refused(problems_of: Any, path: str) -> None:
    (found,) = problems_of(line(1, wav_path=path))
    assert (found.line, found.key) == (1, "wav_path")


def test_long_clips_are_rejected_or_trimmed_with_a_notice(
    problems_of: Any, folder: Path, make_wav: Writer, write_jsonl: Writer
) -> None:
    make_wav(folder / "long.wav", seconds=3.5, rate=8_000)
    (found,) = problems_of(line(1, wav_path="long.wav"), max_seconds=3.0)
    assert "3.5 s, more than 3 s" in found.problem
    assert "on_long=trim" in found.fix
    file = write_jsonl(folder / "a.jsonl", line(1), line(2, wav_path="long.wav"))
    result = read_records(file, FORMAT, max_seconds=3.0, on_long="trim")
    assert [record.seconds for record in result.records] == [0.5, 3.0]
    assert result.notices == ["1 clip trimmed to the first 3 s (line 2)"]
    assert read_records(file, FORMAT, max_seconds=3.5).records[1].seconds == 3.5


def test_a_clip_shorter_than_one_audio_token_is_refused(
    problems_of: Any, folder: Path, make_wav: Writer
) -> None:
    make_wav(folder / "short.wav", seconds=0.03)
    (found,) = problems_of(line(1, wav_path="short.wav"))
    assert "0.03 s, too short" in found.problem


def test_a_clip_used_by_many_records_is_read_once(
    folder: Path, write_jsonl: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dramaeval.data import record_clips as module

    seen: list[Path] = []
    original = module.read_header

    def counting(path: Path) -> Any:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_header", counting)
    file = write_jsonl(folder / "a.jsonl", *(line(number) for number in range(20)))
    assert len(read_records(file, FORMAT).records) == 20
    assert seen == [folder / "clip.wav"]


def test_many_clips_are_found_by_their_names(
    folder: Path, write_jsonl: Writer, make_wav: Writer
) -> None:
    content = make_wav(folder / "0.wav", seconds=3.0).read_bytes()
    for number in range(1_000):
        (folder / "audio" / str(number % 10)).mkdir(parents=True, exist_ok=True)
        (folder / "audio" / str(number % 10) / f"c{number}.wav").write_bytes(content)
    lines = [line(number, wav_path=f"else/where/c{number}.wav") for number in range(1_000)]
    file = write_jsonl(folder / "a.jsonl", *lines)
    records = read_records(file, FORMAT).records
    assert [record.clip.name for record in records] == [f"c{n}.wav" for n in range(1_000)]


# The published data, if they are available

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the published clips are not in {REAL}")
REALISM = ("pitch_variation", "rhythmic_naturalness", "stress_and_emphasis", "emotion_accuracy",
           "emotion_intensity_control", "dynamic_range", "voice_identity_matching",
           "trait_embodiment", "local_story_fit", "global_story_coherence")  # fmt: skip


@needs_real
def test_published_realism_records_are_read() -> None:
    fmt = RecordFormat(
        text_fields=("local_scene", "char_age", "char_style", "char_profile", "transcript"),
        annotation_fields=tuple(AnnotationField(name=name, low=1, high=5) for name in REALISM),
    )
    file = REAL / "realism" / "test.jsonl"
    with pytest.raises(BadRecordsError) as caught:
        read_records(file, fmt)
    (found,) = caught.value.problems
    assert (found.file, found.line, found.id) == (file, 1, "role-eval_v1_0000")
    assert found.key == "wav_path"
    assert "realism_data/role-eval_v1_0000.wav" in str(caught.value)
    result = read_records(file, fmt, on_bad="skip")
    (record,) = result.records
    assert (record.id, record.clip.name) == ("role-eval_v1_0001", "role-eval_v1_0001.wav")
    assert record.ratings["dynamic_range"] == (5, 5, 1, 5, 5, 5)
    assert record.fields["annotations"]["sufficient"] == [True] * 6
    assert {p.line for p in result.skipped} == {1}


@needs_real
def test_published_archetype_records_are_read() -> None:
    scored = ("audio_quality", "human_likeness", "appropriateness")
    fmt = RecordFormat(
        text_fields=("question",),
        annotation_fields=(
            AnnotationField(name="content_pass", low=0, high=1),
            *(AnnotationField(name=name, low=1, high=5) for name in scored),
        ),
    )
    rejected, passed = read_records(REAL / "archetype" / "test.jsonl", fmt).records
    assert rejected.ratings["content_pass"] == (0,) * 6
    assert all(rejected.ratings[name] == (None,) * 6 for name in scored)
    assert passed.ratings["appropriateness"] == (4, 4, 4, 4, 5, 5)
    assert math.isclose(passed.seconds, 13.64, abs_tol=0.01)
