"""Damages files in the ways of a full disk, an interrupted copy or a failing disk."""

from __future__ import annotations

from pathlib import Path

WAYS = ("cut off", "changed")


def damage(file: Path, way: str, at: float = 0.5) -> None:
    """Truncate a file, or flip one bit, at a fraction of its length."""
    content = file.read_bytes()
    position = min(int(len(content) * at), len(content) - 1)
    changed = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
    file.write_bytes(content[:position] if way == "cut off" else changed)
