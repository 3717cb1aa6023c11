"""The files of controls: a restart replaces results that other settings gave, and reasons that no longer hold."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.evaluation.controls import control_named
from dramaeval.evaluation.controls.control_context import NotPossibleError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.stages import controls
from dramaeval.stages.controls import ControlFile

#: The control has this many wordings, as a task that lacks further phrasings.
WORDINGS = 4
SCORE = Prediction(
    id="a", dimension="pitch", scale=(1.0, 2.0), distribution=None, expected=1.5, ratings=(2.0,), state="scored",
)  # fmt: skip


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(phrasings): run the control ``phrasing``; returns what the report reads of it."""

    def predict(phrasings):
        if phrasings > WORDINGS:
            raise NotPossibleError(f"only {WORDINGS} wordings")
        calls.append(phrasings)
        return [replace(SCORE, expected=1 + 1 / phrasings)], {"phrasings": phrasings}

    def begin(phrasings):
        evaluation = {"phrasings": phrasings, "controls": ["phrasing"]}
        context = SimpleNamespace(
            folder=SimpleNamespace(path=tmp_path),
            processes=SINGLE_PROCESS,
            config=SimpleNamespace(evaluation=evaluation),
        )
        controls._run_control(context, "test", "phrasing")
        predictions, reason = file.read()
        extra = controls._read_json(file.extra) if file.extra.is_file() else None
        return [each.expected for each in predictions], reason, extra

    calls, file = [], ControlFile(tmp_path, "test", "phrasing")
    known = replace(control_named("phrasing"), predict=predict)
    monkeypatch.setattr(controls, "control_named", lambda name: known)
    monkeypatch.setattr(
        controls, "_control_context", lambda context, *_: context.config.evaluation["phrasings"]
    )
    begin.calls, begin.file = calls, file
    return begin


def test_a_control_is_computed_once_the_advice_of_its_reason_is_taken(start):
    reason = ([], "only 4 wordings", None)
    assert start(5) == reason
    assert start(2) == ([1.5], None, {"phrasings": 2})
    assert start(2) == ([1.5], None, {"phrasings": 2})
    assert start.calls == [2]
    assert start(5) == reason
    assert start(4) == ([1.25], None, {"phrasings": 4})


def test_a_stop_while_results_are_replaced_leaves_none_of_other_settings(start, monkeypatch):
    start(2)
    with monkeypatch.context() as patch:
        patch.setattr(controls, "write_listed", stop)
        with pytest.raises(KeyboardInterrupt):
            start(4)
    assert start.file.read() == ([], "it did not run")
    assert start(4) == ([1.25], None, {"phrasings": 4})


def stop(*_):
    raise KeyboardInterrupt
