"""Small clips and records that the tests of the data room are made of."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def riff(samples: bytes, *, tag: int, bits: int, rate: int, channels: int = 1) -> bytes:
    """A WAV file by hand, after the RIFF description: 12 + 24 + 8 bytes, then the samples."""
    width = bits // 8 * channels
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16,
                       tag, channels, rate, rate * width, width, bits)  # fmt: skip
    return head + struct.pack("<4sI", b"data", len(samples)) + samples


def sine(
    seconds: float, rate: int = 16_000, hertz: float = 440.0, level: float = 0.5
) -> list[float]:
    return [level * math.sin(2 * math.pi * hertz * i / rate) for i in range(round(seconds * rate))]


def pcm16(samples: list[float]) -> bytes:
    return struct.pack(f"<{len(samples)}h", *(round(32767 * value) for value in samples))


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
    """Write one line each: an object as JSON, text and bytes as they are."""

    def write(path: Path, *lines: dict[str, Any] | str | bytes, end: bytes = b"\n") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = []
        for line in lines:
            text = json.dumps(line, ensure_ascii=False) if isinstance(line, dict) else line
            raw.append(text if isinstance(text, bytes) else text.encode())
        path.write_bytes(b"".join(line + end for line in raw))
        return path

    return write
