"""The page of pairs: tables, sentences, worst pairs with two players, and the ranking of systems."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import soundfile

from dramaeval.data.records import Record
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_ranking import rank_pairs
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.evaluation.report.pair_board import board_sentences
from dramaeval.evaluation.report.pair_tables import gain_sentence, pair_sentences
from dramaeval.evaluation.report.pairs_page import render_pairs, vote_gap
from dramaeval.evaluation.report.shared_context import Findings, worst_cases
from dramaeval.stages.metrics_file import further_tables

SETTINGS = {"seed": 0, "draws": 60, "level": 0.95}
HOSTILE = "<b>s0</b> & 'x'"


@pytest.fixture
def paired(tmp_path):
    """Seven pairs, one per prompt; the raters prefer clip a in all pairs except the first."""
    rng = np.random.default_rng(0)
    records, predictions = [], []
    for number in range(7):
        clips = [tmp_path / f"{number}{side}.wav" for side in "ab"]
        for clip in clips:
            soundfile.write(clip, rng.uniform(-0.1, 0.1, 4_000), 16_000)
        name = f"pair <{number}>"
        orders = rng.dirichlet([3, 1, 1], size=2)
        p_a, p_tie, p_b = orders.mean(axis=0)
        records.append(
            Record(
                id=name, file=tmp_path / "pairs.jsonl", line=number + 1, clip=clips[0], seconds=0.25,
                fields={"scene": HOSTILE}, ratings={}, clip_b=clips[1], seconds_b=0.25,
            )
        )  # fmt: skip
        predictions.append(
            PairPrediction(
                id=name, dimension="pitch_dynamics", p_a=p_a, p_tie=p_tie, p_b=p_b,
                votes=(1.0, 0.5) if number else (-1.0, -1.0), prompt=str(number),
                system_a=HOSTILE, system_b="s1" if number % 2 else "s2", language="en",
                order_ab=tuple(orders[0]), order_ba=tuple(orders[1]),
                clip_a=str(clips[0]), clip_b=str(clips[1]),
            )
        )  # fmt: skip
    return records, predictions


@pytest.fixture
def page(paired, tmp_path):
    records, predictions = paired
    metrics = {
        "pairs": {"test": {"final": summarise_pairs(predictions, ["pitch_dynamics"], **SETTINGS)}},
        "pair_systems": {"test": rank_pairs(predictions, **SETTINGS)},
        "about": {"overlaps": [], "skipped": {}},
    }
    return Findings(
        name="run", metrics=metrics, split="test", records=records, config="seed: 0", environment={},
        tensorboard=tmp_path, max_seconds=30.0, facts=["seed 0"], predictions=predictions,
        titles={"pitch_dynamics": "Pitch dynamics"}, text_fields=["scene"],
    )  # fmt: skip


def test_the_worst_pair_has_the_largest_difference_of_judge_and_raters(paired):
    records, predictions = paired
    worst = worst_cases(predictions, records, vote_gap)
    first = predictions[0]
    assert worst[0][1] is first
    assert vote_gap(first) == pytest.approx(first.p_a - first.p_b + 1)
    gaps = [abs(vote_gap(prediction)) for _, prediction in worst]
    assert gaps == sorted(gaps, reverse=True)
    unvoted = [replace(p, votes=()) for p in predictions]
    assert worst_cases(unvoted, records, vote_gap) == []


def test_the_page_plays_both_clips_and_escapes_all_names(page):
    html = render_pairs(page)
    assert len(html.encode()) < 3_000_000
    # Two players for each of the seven pairs, with different clips.
    sounds = re.findall(r'<audio [^>]*src="(data:audio/mpeg;base64,[^"]+)"', html)
    assert len(sounds) == 14
    assert sounds[0] != sounds[1]
    assert HOSTILE not in html
    assert HOSTILE in unescape(html)
    for heading in ("Agreement", "Calibration", "Order", "Slices", "Systems", "Worst pairs"):
        assert f">{heading}</h2>" in html
    assert "Pitch dynamics: calibration." in html


def test_the_reference_of_a_pair_is_played_beside_both_clips(page, tmp_path):
    soundfile.write(tmp_path / "ref <1>.wav", np.full(4_000, 0.05), 16_000)
    records = [
        replace(record, reference=tmp_path / "ref <1>.wav", reference_seconds=0.25)
        for record in page.records
    ]
    html = render_pairs(replace(page, records=records))
    assert len(re.findall(r'<audio [^>]*src="data:audio/mpeg;base64,', html)) == 21
    assert html.count('aria-label="Reference of pair &lt;') == 7
    assert html.count("<strong>Reference</strong> <small>ref &lt;1&gt;.wav</small>") == 7
    assert "Reference of" not in render_pairs(page)


def test_a_page_without_ranking_and_orders_says_so(page):
    predictions = [replace(p, order_ab=None, order_ba=None, margin=0.2) for p in page.predictions]
    summary = summarise_pairs(predictions, ["pitch_dynamics"], **SETTINGS)
    metrics = {
        **page.metrics,
        "pairs": {"test": {"final": summary}},
        "pair_systems": {"test": {"undefined": "every comparison is a tie"}},
    }
    html = render_pairs(replace(page, metrics=metrics, predictions=predictions))
    assert "The systems are not ranked: every comparison is a tie." in html
    assert "scores each clip by itself: it has no order" in html


def test_sentences_name_values_intervals_and_bias(page):
    summary = page.metrics["pairs"]["test"]["final"]
    summary = {**summary, "unscored": 2}
    macro = summary["macro"]
    macro["interval"] |= {"accuracy_untied": [0.4, 0.9], "position_bias": [0.1, 0.3]}
    macro |= {"accuracy_untied": 0.75, "accuracy": 0.6, "position_bias": 0.2}
    lines = pair_sentences("test", {"final": summary})
    assert "prefers the raters' clip in 75% of the pairs" in lines[0]
    assert "interval 40% to 90%, not shown to be above the 50% of chance" in lines[0]
    assert "agree in 60% of 7 comparisons" in lines[1]
    assert "in 100% of these pairs" in lines[2]  # both raters of a pair always agree
    assert "bias to the first clip is +0.20, which is not chance" in lines[3]
    assert "2 comparisons could not be scored" in lines[4]


def test_the_log_has_the_agreement_with_the_raters_and_between_them(page):
    judge, raters = further_tables(page.metrics)
    values = page.metrics["pairs"]["test"]["final"]["macro"]
    low, high = values["interval"]["accuracy"]
    assert f"| mean | final | {values['accuracy']:.2f} [{low:.2f}, {high:.2f}] |" in judge
    assert judge.startswith("### test: agreement with the raters")
    assert raters.startswith("### test: agreement between raters")
    assert "| mean | final | 1.00 " in raters  # both raters of a pair always agree


def test_the_sentence_on_the_gain():
    values = {"difference": 0.125, "interval": [0.05, 0.2], "p": 0.01}
    gain = {"macro": {"accuracy_untied": values}, "bootstrap": {"level": 0.95}}
    sentence = gain_sentence("test", gain)
    assert "by +12.5 points (interval +5.0 to +20.0, p = 0.010: not chance)" in sentence
    values["p"] = 0.06
    assert "p = 0.060: which may be chance" in gain_sentence("test", gain)
    values["interval"] = None
    assert gain_sentence("test", gain).endswith("too few prompts for an interval.")
    assert gain_sentence("test", {"macro": {"accuracy_untied": None}}) is None


def test_sentences_on_a_ranking(page):
    board = page.metrics["pair_systems"]["test"]
    lines = board_sentences(board)
    first = max(board["systems"], key=lambda name: board["systems"][name]["rating"])
    assert lines[0].startswith(f"{first} is the first of 3 systems")
    assert "over 7 comparisons on 7 prompts" in lines[0]
    assert any("the ranking by the raters' votes: Kendall" in line for line in lines)
    assert any("the judge does not score each clip by itself" in line for line in lines)
