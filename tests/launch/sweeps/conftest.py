"""A fixture that writes the folders of a sweep's runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dramaeval.launch.sweeps.state import change_state


@pytest.fixture
def add_run(tmp_path: Path) -> Callable[..., Path]:
    """Write the folder of a run: add_run(0, ["seed=0"], RunState(state="done", objective=0.5), pearson=0.5)."""

    def add(number, overrides, state=None, pearson=None, interval=None):
        folder = tmp_path / f"{number}-0000000{number}"
        folder.mkdir()
        about = {"number": number, "id": f"0000000{number}", "overrides": overrides}
        (folder / "run.json").write_text(json.dumps(about))
        if state is not None:
            change_state(folder, lambda _: state)
        if pearson is not None:
            macro = {"pearson": pearson, "interval": {"pearson": interval}}
            (folder / "metrics.json").write_text(json.dumps({"val": {"final": {"macro": macro}}}))
        return folder

    return add
