"""A command can print every text, even if the terminal accepts only ASCII."""

import io
import sys

from dramaeval.config.standard_streams import accept_any_text


def test_other_characters_are_escaped_on_an_ascii_terminal(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    accept_any_text()
    print("演技 → 0.5")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u6f14\\u6280 \\u2192 0.5\n"
