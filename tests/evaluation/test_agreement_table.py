"""The table of agreement shows the values of the summary at any width, and explains missing values."""

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dramaeval.evaluation.agreement_table import agreement_text, print_agreement
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.summary import summarise
from dramaeval.startup import accept_any_text

KEYS = ["pitch", "rhythm"]
TITLES = {"pitch": "Pitch dynamics", "rhythm": "Rhythm [red]"}


@pytest.fixture
def phases(make_prediction: Callable[..., Prediction]) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    result = {}
    for phase, noise in (("zero_shot", 5.0), ("final", 0.5)):
        predictions = []
        for key in KEYS:
            truth = np.random.default_rng(1).normal(size=40)
            for row in range(40):
                ratings = np.clip(np.rint(3 + truth[row] + [0, 0.6, -0.6]), 1, 5).tolist()
                score = float(np.clip(3 + truth[row] + noise * generator.normal(), 1, 5))
                if phase == "final" and key == "rhythm":
                    score = 3.0
                unscored = phase == "zero_shot" and row == 0
                predictions.append(
                    make_prediction(
                        f"clip-{row}",
                        None if unscored else score,
                        ratings,
                        dimension=key,
                        group=f"character {row % 8}",
                        state="audio unreadable" if unscored else None,
                    )
                )
        result[phase] = summarise(predictions, KEYS, seed=0, draws=200)
    return result


def printed(phases: dict[str, Any], width: int, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    print_agreement(phases, titles=TITLES, heading="test", console=console)
    return file.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def shown(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00")


def test_the_plain_text_has_every_value(phases: dict[str, Any]) -> None:
    lines = agreement_text(phases, titles=TITLES).splitlines()
    head = next(line for line in lines if "dimension" in line)
    assert cells(head) == [
        "dimension",
        *(f"zero-shot {name}" for name in ("Pearson", "Spearman", "Kendall")),
        *(f"final {name}" for name in ("Pearson", "Spearman", "Kendall")),
        "ceiling",
        "n",
        "unscored",
    ]
    row = cells(next(line for line in lines if "Pitch dynamics" in line))
    zero, final = (phases[phase]["dimensions"]["pitch"] for phase in ("zero_shot", "final"))
    low, high = (shown(bound) for bound in zero["interval"]["pearson"])
    assert row[1] == f"{shown(zero['pearson'])} [{low}, {high}]"
    assert row[2:4] == [shown(zero["spearman"]), shown(zero["kendall"])]
    assert row[5:] == [
        shown(final["spearman"]),
        shown(final["kendall"]),
        shown(final["ceiling"]["pearson"]),
        "40",
        "0",
    ]
    macro = cells(next(line for line in lines if "macro" in line))
    assert macro[1].startswith(shown(phases["zero_shot"]["macro"]["pearson"]))
    assert macro[-2:] == ["80", "0"]


def test_notes_list_undefined_and_missing_values(phases: dict[str, Any]) -> None:
    text = agreement_text(phases, titles=TITLES)
    assert "final: Macro over 1 of 2 dimensions; rhythm: the judge gave every record" in text
    assert "zero-shot: 2 of 80 answers unscored (2 audio unreadable)" in text
    assert "In brackets: 95% intervals of 200 bootstrap draws of 8 groups of records." in text
    row = cells(next(line for line in text.splitlines() if "Rhythm [red]" in line))
    assert row[4:7] == ["-", "-", "-"]
    assert "nan" not in text.lower().replace("annotator", "")
    assert "None" not in text


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_a_terminal_shows_complete_texts(phases: dict[str, Any], width: int) -> None:
    text = printed(phases, width, terminal=True)
    assert "…" not in text
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for phase in phases.values():
        assert shown(phase["dimensions"]["pitch"]["pearson"]) in text
        low, high = phase["dimensions"]["pitch"]["interval"]["pearson"]
        assert f"[{shown(low)}, {shown(high)}]" in text
    assert "Rhythm [red]" in text


def test_output_other_than_a_terminal_is_plain_text(phases: dict[str, Any]) -> None:
    text = printed(phases, 80, terminal=False)
    assert text.strip() == agreement_text(phases, titles=TITLES, heading="test").strip()
    assert text.isascii()


def test_a_table_of_one_phase_does_not_name_the_other(phases: dict[str, Any]) -> None:
    text = agreement_text({"final": phases["final"]})
    assert "zero-shot" not in text
    assert "pitch" in text
    with pytest.raises(ValueError, match="known phases are zero_shot, final"):
        agreement_text({"last": phases["final"]})


def test_an_ascii_terminal_shows_escaped_characters(phases, monkeypatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    accept_any_text()
    print_agreement(phases, titles={"pitch": "演技"}, heading="a → b")
    stream.flush()
    shown_text = stream.buffer.getvalue()
    assert b"a \\u2192 b" in shown_text
    assert b"\\u6f14\\u6280" in shown_text
