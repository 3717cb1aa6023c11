"""Controls that are fitted on the training split: its mean, and a ridge regression on prosody."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from dramaeval.config.schema import CONTROLS
from dramaeval.data.audio import decode
from dramaeval.data.inline_audio import INLINE
from dramaeval.evaluation.controls import control_named
from dramaeval.evaluation.controls.control_context import NotPossibleError
from dramaeval.evaluation.controls.prosody import (
    NAMES,
    RATE,
    _clip_features,
    features,
    prosody,
)
from dramaeval.evaluation.controls.training_mean import training_mean


def with_ratings(record, values):
    return replace(record, ratings={"pitch_variation": values, "trait_embodiment": (3, None)})


def test_training_mean_is_the_mean_of_the_mean_ratings_of_records(build_context):
    context = build_context()
    # The means of the records are 2, 4 and 5; the number of ratings of a record has no influence.
    train = [
        with_ratings(context.train[0], (1.0, 3.0)),
        with_ratings(context.train[1], (4.0, None)),
        with_ratings(context.train[2], (5.0, 5.0)),
        with_ratings(context.train[3], (None, None)),
    ]
    result = training_mean(replace(context, train=train))
    by_key = {entry.dimension: entry.expected for entry in result}
    assert by_key == {"pitch_dynamics": pytest.approx(11 / 3), "trait_embodiment": 3.0}
    assert len(result) == 2 * len(context.records)


def test_a_dimension_without_ratings_stays_unscored(build_context):
    context = build_context()
    train = [replace(record, ratings={"pitch_variation": (2.0,)}) for record in context.train]
    states = {
        prediction.dimension: prediction.state
        for prediction in training_mean(replace(context, train=train))
    }
    assert states["pitch_dynamics"] == "scored"
    assert states["trait_embodiment"] == "no training record is rated on this dimension"


def test_controls_that_are_fitted_depend_on_the_number_of_training_clips():
    """A control whose setting has changed is computed again, see `dramaeval.stages.controls`."""
    modules = {name: import_module(f"dramaeval.evaluation.controls.{name}") for name in CONTROLS}
    fitted = {name for name, module in modules.items() if hasattr(module, "fitted_predictions")}
    assert fitted == {"prosody", "encoder_probe", "duration"}
    assert {name for name in CONTROLS if "prosody_clips" in control_named(name).settings} == fitted


def test_without_a_training_split_these_controls_are_not_possible(build_context):
    for control in (training_mean, prosody):
        with pytest.raises(NotPossibleError, match=r"task\.data\.train"):
            control(build_context(train=False))


@pytest.mark.slow
def test_prosody_learns_a_rating_that_follows_loudness(build_context):
    """The ratings of these clips depend on their loudness."""
    result = prosody(build_context())
    pitch = [entry for entry in result if entry.dimension == "pitch_dynamics"]
    assert np.corrcoef([p.expected for p in pitch], [p.mean_rating for p in pitch])[0, 1] > 0.6
    assert all(1 <= entry.expected <= 5 for entry in result)
    assert all(entry.distribution is None for entry in result)


@pytest.mark.slow
def test_a_clip_that_cannot_be_decoded_is_named(build_context):
    context = build_context()
    context.records[0].clip.write_bytes(context.records[0].clip.read_bytes()[:60])
    context.train[0].clip.unlink()
    result = prosody(context)
    assert result[0].state.startswith("unreadable clip: ")
    assert result[2].state == "scored"


def test_prosody_needs_ten_rated_training_records(build_context):
    context = build_context()
    assert {
        prediction.state for prediction in prosody(replace(context, train=context.train[:5]))
    } == {"under 10 training records are rated"}


def tone(hertz, seconds=1.5, loudness=0.3):
    time = np.arange(round(seconds * RATE)) / RATE
    return (loudness * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def test_f0_energy_and_pauses_of_synthetic_signals():
    values = dict(zip(NAMES, features(tone(220)), strict=True))
    assert values["f0_median"] == pytest.approx(24, abs=0.3)  # two octaves over 55 Hz
    assert values["f0_spread"] < 0.3
    assert values["voiced_share"] > 0.9
    assert values["energy_mean"] == pytest.approx(20 * np.log10(0.3 / 2**0.5), abs=0.5)
    assert values["pause_share"] == 0
    two_tones = np.concatenate([tone(220), np.zeros(RATE // 2, dtype=np.float32), tone(220)])
    with_pause = dict(zip(NAMES, features(two_tones), strict=True))
    assert with_pause["longest_pause"] == pytest.approx(0.5, abs=0.15)
    assert with_pause["pauses_a_second"] == pytest.approx(1 / 3.5, abs=0.01)
    rising = 0.3 * np.sin(2 * np.pi * np.cumsum(np.linspace(110, 220, 2 * RATE)) / RATE)
    assert dict(zip(NAMES, features(rising), strict=True))["f0_slope"] == pytest.approx(6, abs=1)


def test_features_without_a_value_are_nan():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    values = dict(zip(NAMES, features(noise), strict=True))
    assert np.isnan(values["f0_median"])
    assert values["voiced_share"] < 0.2
    assert np.isfinite(features(np.zeros(400, dtype=np.float32))[-1])


def test_the_features_of_samples_in_the_line_are_those_of_a_file(build_context):
    context = build_context()
    record = context.records[0]
    samples = {"audio": decode(record.clip, RATE).tolist()}
    inline = replace(record, clip=INLINE, fields={**record.fields, **samples})
    np.testing.assert_array_equal(_clip_features(inline, context), _clip_features(record, context))
