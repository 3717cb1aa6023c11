"""The facts about the judge on a leaderboard's page, and its best and worst prompts."""

import re
from dataclasses import replace

import pytest

from dramaeval.evaluation.leaderboard import rank, scores_by_prompt
from dramaeval.evaluation.report import leaderboard_page as page
from dramaeval.evaluation.report.about_board import (
    AboutBoard,
    agreement_of,
    examples_of,
    link_to,
)
from dramaeval.evaluation.report.shared_context import render_with_clips

SCORES = {"old": [2.0, 3.0, 1.0, 2.5], "new": [4.0, 3.0, 2.0, float("nan")]}


@pytest.fixture
def scored(make_prediction):
    """Predictions of two systems on four prompts; the last prompt has a clip of only one system."""
    predictions, prompts = [], {}
    for system, row in SCORES.items():
        for prompt, value in enumerate(row):
            if value == value:
                name = f"{system}/{prompt}"
                prompts[name] = f"prompt {prompt}"
                scale = (1.0, 2.0, 3.0, 4.0, 5.0)
                predictions.append(
                    make_prediction(name, value, (), dimension="pitch", scale=scale, system=system)
                )
    return predictions, prompts


def test_prompts_from_best_to_worst_by_hand(scored):
    scores = scores_by_prompt(*scored)
    # Means of 3, 3 and 1.5; the prompt that only one system has is left out.
    assert list(scores) == ["prompt 0", "prompt 1", "prompt 2"]
    assert scores["prompt 0"] == {"old": 2.0, "new": 4.0}


def test_without_a_common_prompt_all_prompts_are_used(make_prediction):
    predictions = [
        make_prediction(name, 3.0, (), dimension="pitch", scale=(1.0, 5.0), system=name)
        for name in ("a", "b")
    ]
    assert scores_by_prompt(predictions, {"a": "one", "b": "two"}) == {
        "one": {"a": 3.0},
        "two": {"b": 3.0},
    }


@pytest.fixture
def records(composed, make_clips):
    from dramaeval.stages.builders import build_task

    first, *_ = build_task(composed()).read(make_clips("clip", 1, seconds=(0.4,))).records
    return [
        replace(first, id=f"{system}/{prompt}", fields={**first.fields, "system": system})
        for system, row in SCORES.items()
        for prompt, value in enumerate(row)
        if value == value
    ]


def test_the_page_has_players_of_the_best_and_the_worst_prompt(scored, records):
    predictions, prompts = scored
    scores = scores_by_prompt(predictions, prompts)
    examples = examples_of(scores, prompts, records, ["local_scene"], most=1)
    assert [example.heading for example in examples] == ["Best 1, mean 3.00", "Worst 1, mean 1.50"]
    assert [(clip.system, clip.score) for clip in examples[0].clips] == [
        ("new", "4.00"),
        ("old", "2.00"),
    ]
    about = AboutBoard(
        date="2026-11-29",
        agreement="Its scores agree with people's.",
        report="../judge/report.html",
        dimensions=[{"title": "Pitch", "description": "How <b>wide</b> the melody is."}],
        examples=examples,
    )
    board = rank(predictions, prompts, seed=0, draws=20, level=0.95)
    tables = page.tables_of(board, {})
    html = render_with_clips(
        lambda sounds: page.render_board(
            board,
            tables,
            "Voices",
            [],
            "",
            about.with_sounds(sounds),
            sentences=page.sentences(board),
            forest=page.board_forest(board),
        ),
        [record for record in records if record.id in {"new/0", "old/0", "old/2"}],
        30,
    )
    players = re.findall(
        r'<audio controls preload="none" src="(data:audio/mpeg;base64,[^"]+)"', html
    )
    assert len(players) == 3
    assert "new/2" in html  # a clip without a player has its id
    for text in (
        "<h1>Voices</h1>",
        "2026-11-29",
        'href="../judge/report.html"',
        "How &lt;b&gt;wide",
    ):
        assert text in html


def test_most_0_shows_no_examples(scored, records):
    scores = scores_by_prompt(*scored)
    assert examples_of(scores, scored[1], records, [], most=0) == []


def test_few_prompts_are_not_shown_twice(scored, records):
    scores = scores_by_prompt(*scored)
    examples = examples_of(scores, scored[1], records, [], most=2)
    assert [each.heading for each in examples] == [
        "Best 1, mean 3.00: prompt 0",
        "Best 2, mean 3.00: prompt 1",
        "Worst 1, mean 1.50: prompt 2",
    ]


def test_the_agreement_is_the_pearson_of_the_last_phase_on_test():
    def figures(value, low, high):
        return {"macro": {"pearson": value, "interval": {"pearson": [low, high]}}}

    metrics = {
        "val": {"final": figures(0.9, 0.8, 0.95)},
        "test": {"zero_shot": figures(0.1, 0, 0.2), "final": figures(0.61, 0.55, 0.66)},
        "about": {},
    }
    assert "0.61 (interval 0.55 to 0.66) on test (Pearson)" in agreement_of(metrics)
    assert "0.90" not in agreement_of(metrics)
    assert "not known" in agreement_of({"test": {"final": {"macro": {"pearson": None}}}})
    assert "not known" in agreement_of({})


def test_the_agreement_of_a_judge_of_pairs_is_that_on_pairs():
    final = {"macro": {"accuracy_untied": 0.574, "interval": {"accuracy_untied": [0.45, 0.77]}}}
    metrics = {"pairs": {"val": {"final": final}, "test": {"final": final}}}
    assert "prefers the raters' clip in 57% (interval 45% to 77%) on test." in agreement_of(metrics)
    undefined = {"macro": {"accuracy_untied": None, "interval": {}}}
    assert "not known" in agreement_of({"pairs": {"test": {"final": undefined}}})


def test_the_link_to_the_report_is_relative_and_quoted(tmp_path):
    report = tmp_path / "my judge" / "report.html"
    assert link_to(report, tmp_path / "board") is None
    report.parent.mkdir()
    report.touch()
    assert link_to(report, tmp_path / "board") == "../my%20judge/report.html"
