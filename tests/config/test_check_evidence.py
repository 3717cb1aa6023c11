"""What evaluation is asked for: contradictions are told before anything is read."""

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.stages.checks import check


def told(composed, *overrides):
    with pytest.raises(ConfigError) as raised:
        check(composed(*overrides))
    return str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages=[score]"], "stages=[score] needs input=FILE.jsonl"),
        (["input=x.jsonl"], "input=… is read by stages=[score]"),
        (["stages=[evaluate,score]", "input=x.jsonl"], "both write predictions.jsonl"),
        (["stages=[leaderboard]"], "stages=[leaderboard] needs input"),
        (["stages=[controls]"], "set stages=[evaluate,controls]"),
        (["evaluation.controls=[silense]"], "silense is not known; choose one of training_mean"),
        (["evaluation.controls=[silense]"], "Did you mean silence?"),
        (["evaluation.phrasings=1"], "evaluation.phrasings=1 must be 2 or more"),
        (["stages=[report]"], "needs runs=[FOLDER,FOLDER,…]"),
        (["stages=[report]", "runs=[/nowhere]"], "/nowhere is not a folder"),
        (["stages=[evaluate,report]", "runs=[/]"], "is a run of its own"),
        (["runs=[/]"], "runs=[…] is read by stages=[report]"),
        (["stages=[report]", "runs=[/]", "report.split=train"], "must be val or test"),
        (["stages=[report]", "runs=[/]", "report.phase=last"], "must be zero_shot or final"),
        (["task.shots=-1"], "task.shots=-1 must be a whole number"),
    ],
)
def test_contradictions(composed, overrides, message):
    assert message in told(composed, *overrides)
