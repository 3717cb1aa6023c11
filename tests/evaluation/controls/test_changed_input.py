"""Controls that change the clip or the text, and the probe of the untrained audio tower."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import Qwen2AudioForConditionalGeneration

from dramaeval.data import clip_changes
from dramaeval.evaluation.controls import text_bias as remarks
from dramaeval.evaluation.controls.control_context import NotPossibleError
from dramaeval.evaluation.controls.duration import duration
from dramaeval.evaluation.controls.encoder_probe import encoder_probe
from dramaeval.evaluation.controls.invariance import CHANGES, invariance
from dramaeval.evaluation.controls.ridge import ALPHAS
from dramaeval.evaluation.controls.score_shifts import shifts
from dramaeval.evaluation.controls.text_bias import text_bias
from dramaeval.evaluation.report.summary_text import audio_use
from dramaeval.tasks.rubric import CLIP_CHANGES
from tests.evaluation.controls.conftest import TINY, expected


def test_shift_spread_and_rank_correlation_by_hand(build_context):
    context = build_context()
    before = context.score(context.records, context.record_encoder)
    offsets = np.random.default_rng(0).normal(0.1, 0.2, len(before))
    changed_predictions = [
        replace(p, distribution=None, expected=float(np.clip(p.expected + by, 1, 5)))
        for p, by in zip(before, offsets, strict=True)
    ]
    changed_predictions[0] = replace(
        changed_predictions[0], expected=None, state="unreadable clip: x"
    )
    result = shifts(context, before, {"a": changed_predictions}, {"a": ["trait_embodiment"]})["a"]
    assert [result[key]["expected"] for key in result] == [False, True]
    assert result["pitch_dynamics"]["n"] == len(before) // 2 - 1
    for key, values in result.items():
        pairs = [
            (a.expected, b.expected)
            for a, b in zip(before, changed_predictions, strict=True)
            if a.dimension == key and b.scored
        ]
        old, new = np.array(pairs).T
        assert values["shift"] == pytest.approx((new - old).mean())
        assert values["spread"] == pytest.approx((new - old).std(ddof=1))
        assert values["rank_correlation"] == pytest.approx(spearmanr(old, new).statistic)


def test_a_record_without_a_group_is_a_group_of_its_own(build_context):
    """Also if its id is the name of another record's group: five groups give an interval, four do not."""
    context = build_context()
    before = context.score(context.records[:5], context.record_encoder)
    *grouped, last = [record.id for record in context.records[:5]]
    groups = dict(zip(grouped, ("anna", "ben", "cleo", "dora"), strict=True))
    before = [
        replace(p, group=groups.get(p.id), id="anna" if p.id == last else p.id) for p in before
    ]
    after = [replace(p, distribution=None, expected=p.expected + 0.1) for p in before]
    separate = shifts(context, before, {"a": after})["a"]
    before = [replace(p, group=p.group or "anna") for p in before]
    joined = shifts(context, before, {"a": after})["a"]
    assert [separate[key]["interval"] is None for key in separate] == [False, False]
    assert [joined[key]["interval"] is None for key in joined] == [True, True]


@pytest.mark.slow
def test_a_change_equals_scoring_the_changed_file(build_context, tmp_path, monkeypatch):
    """Three changes without noise are also written to files, which the judge's encoder reads."""
    context = build_context()
    names = ["0.5 s of silence before and after", "3 % faster", "gain −6 dB"]
    monkeypatch.setattr(
        "dramaeval.evaluation.controls.invariance.CHANGES", {name: CHANGES[name] for name in names}
    )
    _, measured = invariance(context)
    before = expected(context.score(context.records, context.record_encoder))
    for number, name in enumerate(names):
        changed = []
        for record in context.records:
            wave, rate = soundfile.read(record.clip, dtype="float32")
            assert rate == 16_000
            path = tmp_path / f"{number}-{record.id}.wav"
            soundfile.write(path, CHANGES[name][1](wave, rate, None), rate, subtype="FLOAT")
            changed.append(replace(record, clip=path))
        after = expected(context.score(changed, context.record_encoder))
        shift = (after - before).reshape(-1, 2).mean(axis=0)
        result = measured["by_change"][name]
        assert [value["shift"] for value in result.values()] == pytest.approx(shift, abs=1e-4)


def test_each_change_has_the_effect_that_its_name_states():
    rate, rng = 16_000, np.random.default_rng(0)
    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    changed = {name: change(wave, rate, rng) for name, (_, change) in CHANGES.items()}
    assert all(each.dtype == np.float32 for each in changed.values())
    peaks = [np.abs(changed[f"gain {sign}6 dB"]).max() for sign in "+−"]
    assert peaks == pytest.approx([0.3 * 1.99526, 0.3 / 1.99526], rel=1e-4)
    padded = changed["0.5 s of silence before and after"]
    assert len(padded) == 3 * rate
    assert not padded[: rate // 2].any()
    assert not padded[-rate // 2 :].any()
    noise = changed["white noise at 20 dB"] - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(20, abs=0.2)
    for name, factor in (("3 % faster", 1.03), ("3 % slower", 0.97)):
        assert len(changed[name]) == pytest.approx(len(wave) / factor, abs=2)
        spectrum = np.abs(np.fft.rfft(changed[name]))
        peak = np.argmax(spectrum) * rate / len(changed[name])
        assert peak == pytest.approx(440 * factor, abs=1)
    for name in ("MP3 at 64 kbit/s", "resampled to 44.1 kHz and back"):
        assert len(changed[name]) == len(wave)
        assert (changed[name] != wave).any()
        assert np.corrcoef(changed[name], wave)[0, 1] > 0.999
    assert {kind for kind, _ in CHANGES.values()} == set(CLIP_CHANGES)


def test_mp3_does_not_clip_loud_samples():
    rate = 16_000
    wave = (1.9 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)
    assert np.abs(clip_changes.as_mp3(wave, rate, 64)).max() == pytest.approx(1.9, rel=0.05)
    high = (0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)
    assert np.corrcoef(clip_changes.as_mp3(high, 48_000, 64), high)[0, 1] > 0.999


def test_reverberation_adds_the_stated_energy():
    rate = 16_000
    impulse = np.zeros(rate, dtype=np.float32)
    impulse[0] = 1.0
    response = clip_changes.with_reverberation(
        impulse, rate, 0.5, np.random.default_rng(0), wet=0.3
    )
    assert response[0] == pytest.approx(1.0)
    assert np.sum(response[1:].astype(float) ** 2) == pytest.approx(0.3, rel=1e-3)
    # The level falls by 60 dB in 0.5 s, so by 12 dB in 0.1 s.
    early, later = (np.mean(response[start : start + 800] ** 2) for start in (1, 1601))
    assert 10 * np.log10(early / later) == pytest.approx(12, abs=1.5)


@pytest.mark.slow
def test_the_shift_of_a_remark_equals_scoring_prompts_with_the_remark(build_context):
    context = build_context()
    _, measured = text_bias(context)
    texts = remarks.REMARKS["en"]
    record = context.records[0]
    encoder = context.record_encoder

    def score_with(remark):
        # The remark is appended to the transcript, the last text before the question.
        changed = [
            replace(r, fields={**r.fields, "transcript": f"{r.fields['transcript']}\n{remark}"})
            for r in context.records
        ]
        return expected(context.score(changed, encoder.for_task(context.task)))

    assert context.task.context.endswith("{transcript}")
    shift = (score_with(texts["flattering"]) - score_with(texts["neutral"])).reshape(-1, 2).mean(0)
    result = measured["by_change"]["flattering remark against the neutral one"]
    assert [value["shift"] for value in result.values()] == pytest.approx(shift, abs=1e-4)
    assert len(measured["by_change"]) == 4
    assert "About the speaker" not in str(
        context.task.questions(record, context.task.dimensions)[0].messages
    )


@pytest.mark.slow
def test_examples_are_reversed_and_only_the_question_has_the_remark(build_context):
    context = build_context("task.shots=2")
    task, record = context.task, context.records[0]
    assert task.with_reversed_examples().examples(record) == task.examples(record)[::-1]
    message = str(task.with_remark("REMARK").questions(record, task.dimensions)[0].messages)
    assert message.count("REMARK") == 1
    _, measured = text_bias(context)
    assert "examples in reverse order" in measured["by_change"]


def test_changed_clips_limits_the_number_of_scored_records(build_context):
    context = replace(build_context(), changed_clips=2)
    predictions, measured = text_bias(context)
    assert measured["records"] == 2
    assert len({entry.id for entry in predictions}) == 2


@pytest.mark.slow
def test_the_encoder_probe_is_a_ridge_regression_on_encodings_of_transformers(build_context):
    """The features are the input of the projector of transformers' model, without padding and averaged over time."""
    context = build_context()
    plain = Qwen2AudioForConditionalGeneration.from_pretrained(TINY).eval()
    outputs = []
    plain.model.multi_modal_projector.register_forward_pre_hook(
        lambda module, inputs: outputs.append(inputs[0])
    )
    processor = context.record_encoder.processor

    def pooled(records):
        rows = []
        for record in records:
            wave, rate = soundfile.read(record.clip, dtype="float32")
            inputs = processor(
                text=processor.audio_token, audio=wave, sampling_rate=rate, return_tensors="pt"
            )
            with torch.no_grad():
                plain(**inputs)
            frames = int(inputs["feature_attention_mask"].sum())
            encoding = outputs.pop()[0, : ((frames - 1) // 2 + 1) // 2].mean(dim=0).numpy()
            seconds = len(wave) / rate
            rate_of_speech = len(record.fields["transcript"]) / seconds
            rows.append(np.append(encoding, [seconds, rate_of_speech]))
        return rows

    model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS))
    means = [
        np.nanmean(np.array(record.ratings["pitch_variation"], dtype=float))
        for record in context.train
    ]
    model.fit(np.stack(pooled(context.train)), means)
    predicted = np.clip(model.predict(np.stack(pooled(context.records))), 1, 5)
    result = encoder_probe(context)
    scores = [entry.expected for entry in result if entry.dimension == "pitch_dynamics"]
    np.testing.assert_allclose(scores, predicted, atol=2e-3)


def test_duration_is_a_ridge_regression_on_length_and_rate(build_context):
    context = build_context()

    def rows(records):
        return [
            [
                soundfile.info(r.clip).duration,
                len(r.fields["transcript"]) / soundfile.info(r.clip).duration,
            ]
            for r in records
        ]

    model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS))
    means = [
        np.nanmean(np.array(record.ratings["pitch_variation"], dtype=float))
        for record in context.train
    ]
    predicted = np.clip(model.fit(rows(context.train), means).predict(rows(context.records)), 1, 5)
    scores = [e.expected for e in duration(context) if e.dimension == "pitch_dynamics"]
    np.testing.assert_allclose(scores, predicted, atol=1e-6)


def test_the_sentences_of_the_report_name_the_largest_changes():
    def value(shift, correlation, expected=False):
        return {
            "shift": shift,
            "interval": None,
            "spread": 0.1,
            "rank_correlation": correlation,
            "n": 5,
            "expected": expected,
        }

    measured = {
        "records": 5,
        "by_change": {
            "noise": {"a": value(-0.4, 0.9), "b": value(2.0, 0.1, expected=True)},
            "speed": {"a": value(0.1, 0.8), "b": value(0.0, None)},
        },
    }
    controls = {
        "invariance": {"what": "", "reason": None, "gain": None, "changes": measured},
        "text_bias": {"what": "", "reason": "it did not run", "gain": None},
    }
    sentences = audio_use(controls)
    assert sentences[1:] == [
        "Invariance: the largest mean shift of a dimension's scores is −0.40 (noise), the lowest rank correlation "
        "0.80 (speed).",
        "Text bias: it did not run.",
    ]


def test_a_text_judge_has_no_probe_and_no_invariance(build_context, monkeypatch):
    context = build_context()
    monkeypatch.setattr(type(context.record_encoder.family), "takes_audio", False)
    with pytest.raises(NotPossibleError, match="takes no audio"):
        invariance(context)
