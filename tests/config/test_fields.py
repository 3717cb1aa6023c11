"""Declared settings: checks of types, limits and unknown keys, and help texts."""

from dataclasses import dataclass
from enum import Enum

import pytest

from dramaeval.config import fields
from dramaeval.config.fields import Limits, setting
from dramaeval.config.schema import Root
from dramaeval.config.sweep_options import OPTIONS, SlurmOptions


class Colour(Enum):
    red = "red"
    blue = "blue"


@dataclass(kw_only=True)
class Inner:
    """``inner``: a node."""

    size: float = setting(1.0, help="size in cm", above=0, maximum=9)


@dataclass(kw_only=True)
class Outer:
    """``outer``: a node with a node in it."""

    count: int = setting(2, help="how many", minimum=1)
    name: str | None = setting(
        None, help="name; null: none", kind="one line of text", one_line=True
    )
    kinds: list[Colour] = setting([Colour.red], help="colours")
    lines: list[str] = setting([], help="lines", one_line=True)
    options: dict[str, int | str] = setting(dict, help="options by name", one_line=True)
    parts: list[str] = setting(["a"], help="parts", choices=("a", "bcd"))
    mode: str = setting("a", help="mode", choices=("a", "b"))
    inner: Inner = setting(Inner, help="a node")


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({"count": 0}, "x.count=0 must be 1 or more."),
        ({"count": True}, "x.count=True must be a whole number of 1 or more."),
        ({"count": 1.5}, "x.count=1.5 must be a whole number of 1 or more."),
        ({"name": "a\u2028b"}, "x.name='a\\u2028b' must be one line of text or null."),
        ({"kinds": ["green"]}, "x.kinds=['green'] must be a list of red, blue."),
        ({"lines": ["a\nb"]}, "x.lines=['a\\nb'] must be a list of texts."),
        ({"options": {"a": "b\rc"}}, "x.options={'a': 'b\\rc'} must be a mapping."),
        ({"options": {"a": None}}, "x.options={'a': None} must be a mapping."),
        ({"parts": ["a", "bce"]}, "x.parts=bce is not known; choose one of a, bcd. Did you mean bcd?"),
        ({"parts": "a"}, "x.parts='a' must be a list of a, bcd."),
        ({"mode": "c"}, "x.mode=c is not known; choose one of a, b."),
        ({"inner": {"size": 0}}, "x.inner.size=0 must be above 0 and at most 9."),
        ({"inner": {"size": 9.5}}, "x.inner.size=9.5 must be above 0 and at most 9."),
        ({"inner": {"siz": 1}}, "x.inner.siz is not a setting; there are size. Did you mean size?"),
    ],
)  # fmt: skip
def test_an_invalid_value_has_a_message_with_its_key_and_the_valid_values(node, problem):
    assert fields.problems(Outer, node, "x") == [problem]


def test_all_problems_are_reported_and_valid_values_are_not():
    assert len(fields.problems(Outer, {"count": 0, "mode": "c", "inner": {"size": 0, "x": 1}})) == 4
    valid = {"count": 1, "name": "a b", "kinds": ["red", Colour.blue], "lines": ["a"], "parts": [],
             "options": {"a": 1, "b": "c"}, "mode": "b", "inner": {"size": 9}}  # fmt: skip
    assert fields.problems(Outer, valid) == []


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_is_one_problem(value):
    assert fields.problems(Root, {"serve": {"timeout_s": value}, "cache": {"max_gb": value}}) == [
        f"cache.max_gb={value} must be a finite number.",
        f"serve.timeout_s={value} must be a finite number.",
    ]
    launcher = fields.problems(SlurmOptions, {"mem_gb": value}, "hydra.launcher")
    assert launcher == [f"hydra.launcher.mem_gb={value} must be a finite number."]
    rates = fields.range_problems({"rate": value}, "args", {"rate": Limits(above=0)})
    assert rates == [f"args.rate={value} must be a finite number."]
    # A whole number may be too large for a float.
    assert fields.problems(Outer, {"count": 10**400}) == []


def test_limits_of_another_librarys_arguments():
    limits = {"rate": Limits(above=0), "kind": Limits(choices=("a",))}
    assert fields.range_problems({"rate": 0, "kind": "a"}, "args", limits) == [
        "args.rate=0 must be above 0."
    ]
    assert fields.range_problems({"rate": None}, "args", limits) == []


def test_the_help_text_has_every_setting_with_its_default_and_choices():
    text = fields.settings_text(Outer, "outer")
    assert text.splitlines()[0] == "    outer.count=2                     how many"
    assert "outer.mode=a                      mode (a | b)" in text
    assert "outer.options.KEY=…" in text
    assert "outer.inner.size=1.0" in text


@pytest.mark.parametrize("schema", [Root, *OPTIONS.values()])
def test_every_setting_has_help_on_one_line_and_a_valid_default(schema):
    for each in fields.all_settings(schema):
        assert each.help, each.key
        assert "\n" not in each.help, each.key
        if each.default not in ("???", {}) and "${" not in str(each.default):
            assert each.problem(each.key, each.default) is None
