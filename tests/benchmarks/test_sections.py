"""Sections of long measurements: which sections run again or are skipped, and what is written."""

import json
import time

import pytest

from benchmarks.sections import DONE, FAILED, SKIPPED, Figure, Section, run_all, table


@pytest.fixture
def session(tmp_path):
    """An object that runs sections and records the calls and each written page."""

    class Runs:
        def __init__(self):
            self.calls, self.pages, self.failing = [], [], set()

        def section(self, name, **given):
            def run():
                self.calls.append(name)
                yield Figure(name="a", value=1.5, unit="s")
                if name in self.failing:
                    raise ValueError(f"no {name}\nsecond line")
                yield Figure(name="b", value=True)

            return Section(name=name, about=f"About {name}.", run=run, **given)

        def __call__(self, *sections, **given):
            self.calls, self.pages, self.sections = [], [], sections
            kept = run_all(
                sections,
                tmp_path / "results.json",
                lambda kept: self.pages.append(dict(kept)),
                around=lambda: {"torch": "2"},
                **given,
            )
            assert json.loads((tmp_path / "results.json").read_text()) == kept
            return {name: found["state"] for name, found in kept.items()}

    return Runs()


def test_other_sections_run_after_a_failure_which_is_run_again(session):
    sections = [session.section(name) for name in ("one", "two", "three")]
    session.failing = {"two"}
    assert session(*sections) == {"one": DONE, "two": FAILED, "three": DONE}
    assert [list(page) for page in session.pages] == [["one"], ["one", "two"], ["one", "two", "three"]]  # fmt: skip
    assert session.pages[-1]["two"]["why"] == "ValueError: no two"
    # What was measured before the failure is kept.
    assert [figure["name"] for figure in session.pages[-1]["two"]["figures"]] == ["a"]
    session.failing = set()
    assert session(*sections) == {"one": DONE, "two": DONE, "three": DONE}
    assert session.calls == ["two"]
    session(*sections, again=True)
    assert session.calls == ["one", "two", "three"]


def test_a_section_that_does_not_fit_the_limit_is_left_for_the_next_call(session):
    sections = [session.section("short", seconds=1), session.section("long", seconds=1000)]
    assert session(*sections, limit=100) == {"short": DONE}
    assert session(*sections) == {"short": DONE, "long": DONE}
    assert session.calls == ["long"]


def test_a_section_that_exceeds_the_limit_fails_and_keeps_its_figures(session):
    def run():
        yield Figure(name="a", value=1)
        time.sleep(30)

    began = time.monotonic()
    section = Section(name="slow", about="About.", run=run, seconds=0.1)
    assert session(section, limit=0.5) == {"slow": FAILED}
    assert time.monotonic() - began < 20
    found = session.pages[-1]["slow"]
    assert found["why"].startswith("TimeoutError: stopped after 0.5 s")
    assert [figure["name"] for figure in found["figures"]] == ["a"]


def test_a_section_without_its_package_is_skipped(session):
    section = session.section("odd", needs=("json", "no_such_package"))
    assert session(section) == {"odd": SKIPPED}
    assert session.calls == []
    assert session.pages[-1]["odd"]["why"] == "no_such_package is not installed"


def test_the_page_names_every_section(session):
    sections = [session.section(name) for name in ("one", "two")]
    session.failing = {"two"}
    session(*sections)
    text = table(session.pages[-1], [*sections, session.section("three")])
    assert "| a | 1.5 | s |  |\n| b | True |  |  |" in text
    assert "**Failed**: ValueError: no two." in text
    assert "## three\n\nAbout three.\n\nNot run.\n" in text
