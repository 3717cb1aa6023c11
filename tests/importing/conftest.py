"""Fixtures that write short clips, and that import a table of ratings of such clips."""

import numpy as np
import pytest
import soundfile

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.importer import read_import


@pytest.fixture
def clip(tmp_path):
    """A function that writes a clip of 0.2 s and returns its name."""

    def write(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        number = sum(map(ord, name)) % 97
        soundfile.write(path, np.sin(np.arange(1600) * (0.1 + number / 100)) / 4, 8000)
        return name

    return write


@pytest.fixture
def import_text(tmp_path, clip):
    """A function that writes a source and imports it; its folder has the clips a.wav, b.wav and c.wav."""
    for name in ("a.wav", "b.wav", "c.wav"):
        clip(name)

    def read(text, name="ratings.csv", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_import(ImporterConfig(file=str(path), **settings), tmp_path / "clips")

    return read
