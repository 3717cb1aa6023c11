"""Checks of the importer's settings that the types of the schema cannot express."""

import pytest
from presets import preset
from repository import ROOT

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.settings import problems

PRESETS = sorted(path.stem for path in (ROOT / "configs" / "importer").glob("*.yaml"))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"unpivot": "(?P<clip>"}, "importer.unpivot is not a regular expression"),
        ({"unpivot": "(?P<question>.*)"}, "needs the group clip"),
        ({"patterns": {"clip": "abc"}}, "importer.patterns.clip needs a named group"),
        ({"labels": {"Bad": "one"}}, "importer.labels.Bad='one' must be a number"),
        ({"lookup": {"x": {"column": "a"}}}, "importer.lookup.x must be"),
        ({"joins": {"t.csv": {"key": "a"}}}, "importer.joins.t.csv must be"),
        ({"files": {"test": 3}}, "must be a list of names"),
        ({"dimensions": {"a": {"std": "b"}}}, "importer.dimensions.a must be a column"),
        ({"dimensions": {"a": 3}}, "importer.dimensions.a must be a column"),
        ({"format": "jsonl", "sheet": "One"}, "from the formats excel, not from jsonl"),
        ({"format": "excel", "delimiter": ";"}, "from the formats csv, not from excel"),
    ],
)
def test_wrong_settings_are_reported(settings, problem):
    (message,) = problems(ImporterConfig(file="ratings.csv", **settings))
    assert problem in message


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_no_problems(name):
    assert problems(ImporterConfig(**preset(name) | {"file": "folder"})) == []
