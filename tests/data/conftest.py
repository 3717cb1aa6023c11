"""Fixtures that write small clips and records for tests of `dramaeval.data`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rated_lines import FORMAT
from wav_by_hand import pcm16, riff, sine

from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import RecordFormat, read_records

Writer = Callable[..., Path]


@pytest.fixture
def make_wav() -> Callable[..., Path]:
    """Write a 16-bit mono WAV of a sine tone and return its path."""

    def make(path: Path, seconds: float = 0.5, rate: int = 16_000, hertz: float = 440.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(riff(pcm16(sine(seconds, rate, hertz)), tag=1, bits=16, rate=rate))
        return path

    return make


@pytest.fixture
def write_jsonl() -> Callable[..., Path]:
    """Write one line per argument: an object as JSON, text and bytes unchanged."""

    def write(path: Path, *lines: dict[str, Any] | str | bytes, end: bytes = b"\n") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = []
        for line in lines:
            text = json.dumps(line, ensure_ascii=False) if isinstance(line, dict) else line
            raw.append(text if isinstance(text, bytes) else text.encode())
        path.write_bytes(b"".join(line + end for line in raw))
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, make_wav: Writer) -> Path:
    make_wav(tmp_path / "clip.wav")
    return tmp_path


@pytest.fixture
def problems_of(folder: Path, write_jsonl: Writer) -> Callable[..., list[Problem]]:
    """A function that reads lines, which must be refused, and returns their problems."""

    def read(*lines: Any, fmt: RecordFormat = FORMAT, **options: Any) -> list[Problem]:
        with pytest.raises(BadRecordsError) as caught:
            read_records(write_jsonl(folder / "a.jsonl", *lines), fmt, **options)
        return list(caught.value.problems)

    return read
