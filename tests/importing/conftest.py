"""A folder of short clips, and an import of a table in it."""

import numpy as np
import pytest
import soundfile

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.importer import read_import


@pytest.fixture
def clip(tmp_path):
    """Write a clip of 0.2 s and return its name."""

    def write(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        number = sum(map(ord, name)) % 97
        soundfile.write(path, np.sin(np.arange(1600) * (0.1 + number / 100)) / 4, 8000)
        return name

    return write


@pytest.fixture
def imported(tmp_path, clip):
    """Write a source and import it; clips a.wav, b.wav and c.wav are beside it."""
    for name in ("a.wav", "b.wav", "c.wav"):
        clip(name)

    def read(text, name="ratings.csv", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_import(ImporterConfig(file=str(path), **settings), tmp_path / "clips")

    return read
