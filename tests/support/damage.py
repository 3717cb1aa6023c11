"""Files as a full disk, a torn copy or a failing disk leave them."""

from __future__ import annotations

from pathlib import Path

WAYS = ("cut off", "changed")


def damage(file: Path, way: str, at: float = 0.5) -> None:
    """Cut a file off, or change a bit of one byte, at a share of its length."""
    content = file.read_bytes()
    place = min(int(len(content) * at), len(content) - 1)
    changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    file.write_bytes(content[:place] if way == "cut off" else changed)
