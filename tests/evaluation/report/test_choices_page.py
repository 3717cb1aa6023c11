"""The page of multiple-choice questions: its sentences and mistakes, in a real Chromium."""

from dataclasses import replace

import pytest

from dramaeval.evaluation.multiple_choice import summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.report.choices_page import render_choices, sentences, sureness
from dramaeval.evaluation.report.shared_context import worst_cases

OPTIONS = ("happy", "sad & <i>low</i>", "calm")


def answers(records, sure):
    """One prediction per record; |sure| is the probability of the likeliest option, which is correct if sure > 0."""
    predictions = []
    for record, share in zip(records, sure, strict=True):
        rest = (1 - abs(share)) / 2
        predictions.append(
            OptionPrediction(
                id=record.id, dimension="answer", options=OPTIONS, answer=0 if share > 0 else 1,
                distribution=(abs(share), rest, rest), state="scored", category="emotion",
            )
        )  # fmt: skip
    return predictions


@pytest.fixture
def choices(findings):
    records = [
        replace(record, fields={**record.fields, "question_text": f"How is {at}? <b>"})
        for at, record in enumerate(findings.records)
    ]
    predictions = answers(records, [0.9, -0.5, -0.8, *[0.7] * (len(records) - 3)])
    summary = summarise_options(predictions, seed=0, draws=100)
    metrics = {"choices": {"test": {"final": summary}}, "about": findings.metrics["about"]}
    return replace(findings, metrics=metrics, predictions=predictions, records=records)


def test_the_surest_mistakes_come_first(choices):
    result = worst_cases(choices.predictions, choices.records, sureness)
    assert [entry.id for _, entry in result] == [choices.records[2].id, choices.records[1].id]
    assert all(record.id == entry.id for record, entry in result)


def test_the_sentences_on_accuracy(choices):
    (sentence,) = sentences("test", choices.metrics["choices"]["test"])
    # 12 of 14 are right, three options each.
    assert sentence.startswith("On test, final: the right option of 86% of 14 questions")
    assert "against 33% by chance; the difference is shown" in sentence
    half = answers(choices.records, [0.9, -0.9] * 7)
    summary = summarise_options(half[:6], seed=0, draws=100)
    summary["overall"]["likelihood"]["interval"] = [0.2, 0.8]
    (sentence,) = sentences("test", {"zero_shot": summary})
    assert "50% of 6 questions" in sentence
    assert sentence.endswith("by chance; the difference may be chance.")
    summary["overall"]["likelihood"]["interval"] = [0.1, 0.3]
    assert sentences("test", {"zero_shot": summary})[0].endswith("the difference is shown.")
    nothing = [replace(half[0], distribution=None, state="torn")]
    (sentence,) = sentences("test", {"final": summarise_options(nothing, seed=0, draws=0)})
    assert sentence == "On test, final: no question was scored."


def test_the_page_opens_in_a_browser_and_plays_its_clips(choices, chromium, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(render_choices(choices), encoding="utf-8")
    assert file.stat().st_size < 3_000_000
    chromium.get_log("browser")
    chromium.get(file.as_uri())
    assert chromium.get_log("browser") == []
    assert len(chromium.find_elements("css selector", "audio")) == 2
    first = chromium.find_element("css selector", "article").text
    assert "How is 2? <b>" in first
    assert "sad & <i>low</i> (right)" in first
    played = chromium.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const clip = document.querySelector("audio");
        clip.muted = true;
        clip.addEventListener("ended", () => done("ended"));
        clip.play().catch((error) => done(String(error)));
        """
    )
    assert played == "ended"
    assert "0.86" in chromium.find_element("css selector", "tfoot").text
