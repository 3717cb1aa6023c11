"""Arguments read from source text equal those that `inspect` finds in the imported objects."""

import re

import pytest
from repository import ROOT

from dramaeval.config.keys import argument_names, resolve_target
from dramaeval.config.source_arguments import arguments_in_source

TARGETS = sorted(
    {
        target
        for file in (ROOT / "configs").rglob("*.yaml")
        for target in re.findall(r"_target_: ([\w.]+)", file.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("target", [*TARGETS, "peft.LoHaConfig", "peft.VeraConfig"])
def test_the_arguments_of_every_target_in_configs(target):
    arguments = arguments_in_source(target)
    assert arguments is not None
    # The plugins of launchers take the options that `fields.problems` checks.
    if not target.startswith("hydra_plugins."):
        assert set(arguments) == set(argument_names(resolve_target(target)))


@pytest.mark.parametrize(
    "target",
    ["builtins.dict", "no_such_package.Class", "trl.NoSuchClass", "collections.OrderedDict", "x"],
)
def test_arguments_that_the_source_does_not_show_are_unknown(target):
    assert arguments_in_source(target) is None
