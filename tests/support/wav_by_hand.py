"""WAV files written byte by byte, so that expected values do not depend on a library under test."""

from __future__ import annotations

import math
import struct


def riff(samples: bytes, *, tag: int, bits: int, rate: int, channels: int = 1) -> bytes:
    """The bytes of a WAV file according to the RIFF description: 12 + 24 + 8 bytes, then the samples."""
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
