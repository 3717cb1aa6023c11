"""The page of a run: the training curves that it shows."""

from types import SimpleNamespace

import pytest

from dramaeval.config.weights import weights_folder
from dramaeval.models.checkpoint import Checkpoint
from dramaeval.stages.report_html import _curves


@pytest.fixture
def curves_of(tmp_path):
    """curves_of(path, trains): the folder of the curves of a run whose ``checkpoint`` is a path, relative to the test's."""
    run = tmp_path / "run"
    for name in ("model", "export", "other"):
        (run / name).mkdir(parents=True)
        (run / name / "config.json").write_text("{}")
    (run / "tensorboard").mkdir()

    def find(path, trains=False):
        folder = None if path is None else weights_folder(tmp_path / path)
        context = SimpleNamespace(
            folder=SimpleNamespace(tensorboard=tmp_path / "mine" / "tensorboard"),
            trains=trains,
            checkpoint=None if folder is None else Checkpoint(folder, adapter=False),
        )
        return _curves(context).relative_to(tmp_path).parts[0]

    return find


@pytest.mark.parametrize("path", ["run", "run/model", "run/export"])
def test_every_form_of_a_checkpoint_has_the_curves_of_its_run(curves_of, path):
    assert curves_of(path) == "run"
    assert curves_of(path, trains=True) == "mine"


def test_without_an_earlier_training_the_curves_are_those_of_the_run(curves_of, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text("{}")
    assert curves_of(None) == "mine"
    assert curves_of("plain") == "mine"
