"""The pooled figures of the published scripts, compared with values by hand."""

import math
from pathlib import Path

import pytest

from dramaeval.data.records import Record
from dramaeval.evaluation.published_convention import (
    published_figures,
    published_text,
    unknown_scales,
    written_by_raters,
)
from dramaeval.evaluation.report import sections

SCALES = {"pitch": (1, 2, 3, 4, 5), "rhythm": (1, 2, 3, 4, 5)}
PASS = {"gate": (0, 1), "quality": (1, 2, 3, 4, 5)}
SETTINGS = {"seed": 0, "draws": 100, "level": 0.95}


def record(name, **annotations):
    return Record(
        id=name, file=Path("a.jsonl"), line=1, clip=Path("a.wav"), seconds=1.0, ratings={},
        fields={"annotations": annotations},
    )  # fmt: skip


def test_all_dimensions_are_pooled_and_missing_ratings_count_as_scores(make_prediction):
    raw = written_by_raters(
        [
            record("a", pitch_variation=[None, "N/A"], rhythm=[3, None, "3"]),
            record("b", pitch_variation=[3, "N/A"], rhythm=[4, 4]),
            record("c", pitch_variation=[None], rhythm=[]),
        ],
        {"pitch": "pitch_variation", "rhythm": "rhythm"},
    )
    scored = {("a", "pitch"): 1, ("a", "rhythm"): 2, ("b", "rhythm"): 4, ("c", "pitch"): 5}
    predictions = [
        make_prediction(name, score, [], dimension=dimension)
        for (name, dimension), score in scored.items()
    ]
    predictions.append(make_prediction("b", None, [], dimension="pitch", state="no answer"))
    figures = published_figures(predictions, raw, SCALES, **SETTINGS)

    # Targets: a 1 and 3, b (3 + 1)/2 = 2 and 4; c has only null. Scores: 1, 2, 3 for the unscored question, 4.
    tuned = figures["fine_tuning"]
    assert tuned["n"] == 4
    assert tuned["unscored_replaced"] == 1
    assert tuned["pearson"] == pytest.approx(4 / 5)  # Σdxdy = 4, Σdx² = Σdy² = 5
    assert tuned["spearman"] == pytest.approx(0.8)  # 1 − 6·2/(4·15)
    assert tuned["mae"] == pytest.approx(2 / 4)
    assert tuned["rmse"] == pytest.approx(math.sqrt(2 / 4))
    assert tuned["interval"] == {"pearson": None}  # three records are too few

    # Targets: a 1 and (3 + 1 + 3)/3, b 2 and 4, c 1. Scores: 1, 2, 1 for the unscored question, 4, 5.
    # Means 13/5 and 31/15; Σdx² = 13.2, Σdy² = 1370/225, Σdxdy = 1.8.
    zero = figures["zero_shot"]
    assert zero["n"] == 5
    assert zero["pearson"] == pytest.approx(1.8 / math.sqrt(13.2 * 1370 / 225))
    assert zero["mae"] == pytest.approx((0 + 1 / 3 + 1 + 0 + 4) / 5)
    assert "scripts 0.800 (n = 4)" in published_text({"published": figures})
    assert published_text({}) is None
    table = sections.published({"final": figures})
    assert [cell.text for cell in table.rows[0]] == [
        "fine-tuning scripts", "final", "0.800", "0.800", "0.500", "0.707", "4", "1", "0",
    ]  # fmt: skip
    assert sections.published({"final": {}}) is None


def test_the_fine_tuning_scripts_use_the_majority_of_a_pass_fail_dimension(make_prediction):
    raw = written_by_raters(
        [
            record("a", gate=[True, True, False], quality=[2, 4, None]),
            record("b", gate=[True, "N/A"], quality=[5, 5]),
            record("c", gate=[False, "N/A", True], quality=[None, None, 1]),
            record("d", gate=[None, None], quality=[None, None]),
        ],
        {"gate": "gate", "quality": "quality"},
    )
    predictions = [
        make_prediction(name, score, [], dimension="gate", scale=(0.0, 1.0))
        for name, score in {"a": 0.5, "b": 0.9, "c": 0.25, "d": 0.1}.items()
    ]
    predictions += [make_prediction("a", 3.5, [], dimension="quality")]
    figures = published_figures(predictions, raw, PASS, **SETTINGS)
    # Gate: a 1, b a tie, c 0, d without votes. Quality: a 3; b and c are rated but have no prediction.
    tuned = figures["fine_tuning"]
    assert (tuned["n"], tuned["not_asked"]) == (3, 2)
    assert tuned["mae"] == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    # Only quality: a (2 + 4 + 1)/3; b, c and d, whose nulls count as scores, have no prediction.
    zero = figures["zero_shot"]
    assert (zero["n"], zero["not_asked"]) == (1, 3)
    assert zero["mae"] == pytest.approx(3.5 - 7 / 3)
    assert zero["pearson"] is None


def test_the_interval_is_over_groups_of_records(make_prediction):
    names = [f"{i}" for i in range(24)]
    raw = {(name, "pitch"): [1 + i % 5] for i, name in enumerate(names)}
    predictions = [
        make_prediction(name, 1 + (i * 3 % 7) / 2, [], dimension="pitch", group=f"g{i % 6}")
        for i, name in enumerate(names)
    ]
    figures = published_figures(predictions, raw, SCALES, **SETTINGS)["fine_tuning"]
    low, high = figures["interval"]["pearson"]
    assert low < figures["pearson"] < high
    few_groups = [  # one group less than an interval needs
        make_prediction(p.id, p.expected, [], dimension="pitch", group=f"g{i % 4}")
        for i, p in enumerate(predictions)
    ]
    assert (
        published_figures(few_groups, raw, SCALES, **SETTINGS)["fine_tuning"]["interval"]["pearson"]
        is None
    )


def test_scales_that_the_scripts_do_not_know_are_named():
    scales = {"a": (1, 2, 3, 4, 5), "b": (0, 1), "c": (0, 1, 2), "d": (1, 2, 3)}
    assert unknown_scales(scales) == ["c", "d"]
