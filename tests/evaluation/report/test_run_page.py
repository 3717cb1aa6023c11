"""The report of a run, without a browser: its size, its content, and missing clips."""

import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from dramaeval.data.audio import decode
from dramaeval.data.inline_audio import INLINE
from dramaeval.evaluation.report import shared_context
from dramaeval.evaluation.report.run_page import relative_gap, render
from dramaeval.evaluation.report.shared_context import sounds, worst_cases


@pytest.mark.slow
def test_the_page_is_one_small_file_with_every_section(findings):
    page = render(findings)
    assert len(page.encode()) < shared_context.LIMIT
    for name in ("Summary", "Agreement with people", "Does the judge use the audio?", "Predicted against human",
                 "Calibration", "Slices", "Training", "Worst disagreements", "Run"):  # fmt: skip
        assert f">{name}</h2>" in page
    assert page.count("<audio") == 10
    assert page.count("<article>") == 10
    assert "run &lt;1&gt;" in page
    assert "<b>x.wav</b>" not in page
    assert "path: &lt;tiny&gt;" in page
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert "http://www.w3.org/2000/svg" in page  # the SVG namespace, which is not loaded


@pytest.mark.slow
def test_kept_thoughts_are_shown_as_text(findings):
    predictions = [
        replace(each, thoughts=(each.expected, None), thought_texts=("<b>calm</b>", "And so"))
        for each in findings.predictions
    ]
    page = render(replace(findings, predictions=predictions))
    assert page.count("<dd>&lt;b&gt;calm&lt;/b&gt;</dd>") == 10
    assert page.count("<dt>Thought (no score)</dt><dd>And so</dd>") == 10
    assert "<b>calm" not in page
    greedy = [replace(each, thought_texts=("Loud.",)) for each in findings.predictions]
    page = render(replace(findings, predictions=greedy))
    assert page.count("<dt>Thought</dt><dd>Loud.</dd>") == 10


@pytest.mark.slow
def test_rendering_is_deterministic(findings):
    assert render(findings) == render(findings)


@pytest.mark.slow
def test_clips_are_left_out_to_keep_the_size_limit(findings, monkeypatch):
    with monkeypatch.context() as silent:
        silent.setattr(shared_context, "sounds", lambda *_: {})
        without = len(render(findings).encode())
    monkeypatch.setattr(shared_context, "LIMIT", without + 6_000)
    page = render(findings)
    assert len(page.encode()) <= without + 6_000
    assert 0 < page.count("<audio") < 10
    assert "no room under 3 MB" in page


def test_a_zero_shot_run_without_curves_controls_or_clips(findings, tmp_path):
    only = {"test": {"zero_shot": findings.metrics["test"]["zero_shot"]}, "about": {}}
    for record in findings.records:
        record.clip.unlink()
    page = render(replace(findings, metrics=only, tensorboard=tmp_path / "none"))
    assert "before training" in page
    assert "<audio" not in page
    for heading in ("Does the judge use the audio?", "Training</h2>", "Slices</h2>"):
        assert heading not in page
    assert "cannot be decoded" in page


def test_the_reference_is_played_beside_the_clip(findings, tmp_path):
    reference = findings.records[0].clip.with_name("original.wav")
    soundfile.write(reference, np.full(8_000, 0.05), 16_000)
    records = [replace(r, reference=reference, reference_seconds=0.5) for r in findings.records]
    page = render(replace(findings, records=records))
    players = dict(re.findall(r'<audio [^>]*src="([^"]+)" aria-label="(Clip|Reference of)', page))
    assert page.count("<audio") == 20
    # Ten different clips, each with the same reference, whose sound equals that of its file.
    assert list(players.values()).count("Clip") == 10
    (sound,) = (uri for uri, kind in players.items() if kind == "Reference of")
    only = replace(findings.records[0], id="x", clip=reference)
    assert sound == sounds([only], 10**6, 30)["x"]
    assert page.count("<strong>Reference</strong> <small>original.wav</small>") == 10
    reference.unlink()
    page = render(replace(findings, records=records))
    assert (page.count("<audio"), page.count("cannot be decoded")) == (10, 10)


def test_unscored_questions_are_counted(findings, make_prediction):
    from dramaeval.evaluation.summary import summarise

    unscored = [
        make_prediction(
            prediction.id, None, prediction.ratings, dimension=prediction.dimension, state="torn"
        )
        for prediction in findings.predictions
    ]
    summary = summarise(unscored, list(findings.titles), seed=0, draws=20)
    only = {"test": {"final": summary}, "about": {}}
    page = render(replace(findings, metrics=only, predictions=unscored))
    assert "no correlation with people" in page
    assert "28 of 28 answers unscored (" in page


def test_the_worst_answers_have_the_largest_gaps_one_for_each_clip(findings):
    result = worst_cases(findings.predictions, findings.records, relative_gap)
    assert len({record.id for record, _ in result}) == shared_context.MOST_CASES
    differences = [abs(p.expected - p.mean_rating) for _, p in result]
    assert differences == sorted(differences, reverse=True)
    largest = max(abs(p.expected - p.mean_rating) for p in findings.predictions)
    assert differences[0] == pytest.approx(largest)


def test_the_worst_answers_are_ordered_relative_to_the_range_of_the_scale(
    make_prediction, findings
):
    record = findings.records
    five = make_prediction(record[0].id, 4.0, (2,))  # half of 1-5
    two = make_prediction(record[1].id, 0.9, (0,), scale=(0.0, 1.0))  # nine tenths of 0-1
    result = worst_cases([five, two], record, relative_gap)
    assert [prediction for _, prediction in result] == [two, five]


def test_a_clip_in_the_page_has_the_sound_of_its_file(findings, tmp_path):
    import base64

    record = findings.records[2]
    uri = sounds([record], 10**6, 30)[record.id]
    file = tmp_path / "back.mp3"
    file.write_bytes(base64.b64decode(uri.partition(",")[2]))
    result, rate = soundfile.read(file)
    original, _ = soundfile.read(record.clip)
    assert rate == 16_000
    assert len(result) == pytest.approx(len(original), abs=3000)
    # White noise at 41 kbit/s loses its high frequencies but keeps its level.
    assert np.std(result) == pytest.approx(np.std(original), rel=0.3)


def test_samples_in_a_line_have_the_sound_of_a_file(findings):
    record = findings.records[2]
    samples = decode(record.clip, 16_000).tolist()
    inline = replace(record, clip=INLINE, fields={**record.fields, "audio": samples})
    assert sounds([inline], 10**6, 30) == sounds([record], 10**6, 30)
