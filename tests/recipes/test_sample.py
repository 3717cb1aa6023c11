"""The synthesiser: samples are reproducible bit for bit, and the sound has each property of a delivery."""

import ctypes
import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dramaeval.compat.librosa import compiled_librosa
from recipes.sample import espeak
from recipes.sample.markup import marked_up
from recipes.sample.speech import ARTEFACTS, EMOTIONS, Delivery, synthesise
from recipes.sample.voices import AGES, SEXES, SPLITS, VOICES, voices_of

ENGLISH = "Oh, you should have seen their faces when the lights went out."
MANDARIN = "噢，你真该看看他们当时的表情。"
PLAIN = Delivery(
    voice="adult_woman_f5",
    pitch_range=0.5,
    rate=0.5,
    pauses="natural",
    stress="none",
    loudness_range=0.3,
    level=0.6,
    emotion="neutral",
    intensity=0.5,
    artefact="none",
)
LANGUAGES = [("en", ENGLISH), ("zh", MANDARIN)]
BOTH_LANGUAGES = pytest.mark.parametrize(("language", "text"), LANGUAGES, ids=["en", "zh"])


def pitch_in_semitones(samples):
    found, voiced, _ = compiled_librosa().pyin(
        samples, fmin=65, fmax=500, sr=16000, frame_length=1024
    )
    return 12 * np.log2(found[voiced & ~np.isnan(found)])


def loudness_in_decibels(samples):
    frames = compiled_librosa().feature.rms(y=samples, frame_length=1600, hop_length=400)[0]
    decibels = 20 * np.log10(frames + 1e-6)
    return decibels[decibels > decibels.max() - 30]


def longest_silence(samples):
    quiet = compiled_librosa().feature.rms(y=samples, frame_length=320, hop_length=160)[0] < 1e-3
    runs = "".join("q" if frame else "." for frame in quiet).strip("q").split(".")
    return max(len(run) for run in runs) / 100


def brightness(samples):
    return compiled_librosa().feature.spectral_centroid(y=samples, sr=16000)[0].mean()


SCRIPT = """
import hashlib
from recipes.sample.speech import Delivery, synthesise
from tests.recipes.test_sample import ENGLISH, MANDARIN, VARIED
synthesise("Something else first.", "en", VARIED[2], 99)
synthesise(MANDARIN, "zh", VARIED[1], 5)
digest = hashlib.sha256()
for delivery in VARIED:
    for language, text in (("en", ENGLISH), ("zh", MANDARIN)):
        digest.update(synthesise(text, language, delivery, 7).tobytes())
print(digest.hexdigest())
"""
VARIED = [
    replace(PLAIN, emotion=emotion, artefact=artefact, voice=voice, pauses="broken", stress=stress)
    for emotion, artefact, voice, stress in zip(
        EMOTIONS,
        ARTEFACTS,
        ("child_woman_zac", "elderly_man_m1", "adult_woman_f5", "teenager_man_m3", "adult_man_m7"),
        ("content", "misplaced", "none", "content", "misplaced"),
        strict=True,
    )
]


@pytest.mark.slow
def test_samples_do_not_depend_on_the_process_or_on_earlier_lines():
    digest = hashlib.sha256()
    for delivery in VARIED:
        for language, text in LANGUAGES:
            digest.update(synthesise(text, language, delivery, 7).tobytes())
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.strip() == digest.hexdigest()


def test_another_seed_gives_other_samples():
    assert not np.array_equal(
        synthesise(ENGLISH, "en", PLAIN, 1), synthesise(ENGLISH, "en", PLAIN, 2)
    )


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_samples_are_mono_float32_and_fit_16_bits(artefact):
    loudest = replace(PLAIN, artefact=artefact, level=1.0, loudness_range=1.0, emotion="anger")
    samples = synthesise(ENGLISH, "en", loudest, 3)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.2 < np.abs(samples).max() <= 1.0
    assert np.array_equal(samples * 32768, np.round(samples * 32768))


@pytest.mark.slow
@pytest.mark.parametrize("voice", ["adult_woman_f5", "adult_man_Michael"])
@BOTH_LANGUAGES
def test_pitch_range_widens_the_pitch(voice, language, text):
    spread = [
        pitch_in_semitones(
            synthesise(text, language, replace(PLAIN, voice=voice, pitch_range=amount), 3)
        ).std()
        for amount in (0.0, 0.5, 1.0)
    ]
    assert spread[0] < 0.5
    assert spread[1] > spread[0] + 0.5
    assert spread[2] > spread[1] + 0.5


@BOTH_LANGUAGES
def test_rate_shortens_and_level_and_swells_change_the_loudness(language, text):
    def clips(**amounts):
        name, values = amounts.popitem()
        return [synthesise(text, language, replace(PLAIN, **{name: value}), 3) for value in values]

    lengths = [len(clip) for clip in clips(rate=(0.0, 0.5, 1.0))]
    assert lengths[0] > 1.3 * lengths[1] > 1.3 * 1.3 * lengths[2]
    levels = [loudness_in_decibels(clip).mean() for clip in clips(level=(0.0, 0.5, 1.0))]
    assert levels[1] - levels[0] == pytest.approx(10.5, abs=1)
    assert levels[2] - levels[1] == pytest.approx(10.5, abs=1)
    swells = [loudness_in_decibels(clip).std() for clip in clips(loudness_range=(0.0, 0.5, 1.0))]
    assert swells[1] > swells[0] + 1
    assert swells[2] > swells[1] + 1


@BOTH_LANGUAGES
def test_pauses_change_silences_and_length(language, text):
    natural, joined, broken = (
        synthesise(text, language, replace(PLAIN, voice="adult_man_Michael", pauses=pauses), 3)
        for pauses in ("natural", "none", "broken")
    )
    assert longest_silence(natural) > 0.08 > longest_silence(joined)
    assert longest_silence(broken) > 0.2
    assert len(broken) > 1.15 * len(joined)


def test_stress_marks_key_words_or_function_words():
    rng = np.random.default_rng(0)

    def stressed(kind, language, text):
        marked = marked_up(text, language, "natural", kind, 0.5, rng)
        return [marked.ssml[first:last] for first, last in marked.stressed]

    line = "Well, the telescope is still on the table."
    assert set(stressed("content", "en", line)) == {"telescope", "still"}
    assert set(stressed("misplaced", "en", line)) <= {"the", "is", "on"}
    assert stressed("none", "en", line) == []
    assert set(stressed("misplaced", "zh", "这是他们的望远镜")) <= set("这是他们的")
    assert set("".join(stressed("content", "zh", "这是他们的望远镜"))) <= set("望远镜")


def test_stressed_words_are_longer():
    plain, stressed = (
        synthesise(ENGLISH, "en", replace(PLAIN, stress=stress), 3)
        for stress in ("none", "content")
    )
    assert len(stressed) > 1.1 * len(plain)


@pytest.mark.slow
def test_emotions_change_the_voice_in_proportion_to_their_intensity():
    def spoken(emotion, intensity=1.0):
        return synthesise(ENGLISH, "en", replace(PLAIN, emotion=emotion, intensity=intensity), 3)

    neutral = spoken("neutral")
    middle = np.median(pitch_in_semitones(neutral))
    assert np.median(pitch_in_semitones(spoken("joy"))) > middle + 2
    assert np.median(pitch_in_semitones(spoken("sadness"))) < middle - 1.5
    assert brightness(spoken("anger")) > 1.2 * brightness(neutral)
    assert brightness(spoken("sadness")) < 0.8 * brightness(neutral)
    assert brightness(spoken("anger", 0.0)) < 0.9 * brightness(spoken("anger"))
    weak_joy = np.median(pitch_in_semitones(spoken("joy", 0.0)))
    assert middle < weak_joy < np.median(pitch_in_semitones(spoken("joy")))


def test_artefacts_can_be_measured():
    clean = synthesise(ENGLISH, "en", PLAIN, 3)
    dropouts = synthesise(ENGLISH, "en", replace(PLAIN, artefact="dropouts"), 3)
    clipped = synthesise(ENGLISH, "en", replace(PLAIN, artefact="clipping"), 3)
    noisy = synthesise(ENGLISH, "en", replace(PLAIN, artefact="noise"), 3)
    assert np.mean(dropouts == 0) > np.mean(clean == 0) + 0.05

    def crest(samples):
        return np.abs(samples).max() / np.sqrt(np.mean(samples**2))

    assert crest(clipped) < 0.6 * crest(clean)
    assert np.percentile(np.abs(noisy), 10) > 2 * np.percentile(np.abs(clean), 10)


def test_voices_cover_sex_and_age_twice_in_each_split_without_a_shared_variant():
    for split in SPLITS:
        kinds = Counter((VOICES[key].sex, VOICES[key].age) for key in voices_of(split))
        assert kinds == dict.fromkeys(product(SEXES, AGES), 2)
    variants = [{VOICES[key].variant for key in voices_of(split)} for split in SPLITS]
    assert not variants[0] & variants[1]


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_women_speak_higher_than_men_and_children_than_old_people(split):
    def pitch(sex, age):
        keys = [k for k in voices_of(split) if (VOICES[k].sex, VOICES[k].age) == (sex, age)]
        return [
            np.median(pitch_in_semitones(synthesise(ENGLISH, "en", replace(PLAIN, voice=key), 3)))
            for key in keys
        ]

    assert min(pitch("woman", "adult")) > max(pitch("man", "adult")) + 6
    assert min(pitch("man", "child")) > max(pitch("man", "elderly")) + 6


def test_all_invalid_fields_are_reported_together():
    with pytest.raises(ValueError, match="cannot be spoken") as error:
        synthesise("Hm.", "fr", replace(PLAIN, voice="nobody", rate=1.5, emotion="awe"), 1)
    for word in ("'fr'", "'nobody'", "1.5", "'awe'", "neutral, joy, anger, sadness, fear"):
        assert word in str(error.value)
    with pytest.raises(ValueError, match="no word to speak"):
        synthesise("…!", "en", PLAIN, 1)


def test_without_the_espeak_library_two_ways_to_install_it_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    espeak.find_library.cache_clear()
    try:
        with pytest.raises(espeak.EspeakError) as error:
            synthesise(ENGLISH, "en", PLAIN, 1)
    finally:
        espeak.find_library.cache_clear()
    assert "pip install espeakng-loader" in str(error.value)
    assert "apt-get install libespeak-ng1" in str(error.value)


def test_without_the_package_the_library_of_the_system_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so.1")
    espeak.find_library.cache_clear()
    try:
        assert espeak.find_library() == ("libespeak-ng.so.1", None)
    finally:
        espeak.find_library.cache_clear()


def test_a_library_without_its_data_raises_an_error(monkeypatch, tmp_path):
    found = espeak.find_library()[0]
    monkeypatch.setattr(espeak, "find_library", lambda: (found, str(tmp_path)))
    with pytest.raises(espeak.EspeakError, match="did not start"):
        synthesise(ENGLISH, "en", PLAIN, 1)
    monkeypatch.undo()
    assert len(synthesise(ENGLISH, "en", PLAIN, 1)) > 16000


def test_a_library_that_the_process_has_already_loaded_is_refused():
    held = ctypes.CDLL(espeak.find_library()[0])
    try:
        with pytest.raises(espeak.EspeakError, match="process of its own"):
            synthesise(ENGLISH, "en", PLAIN, 1)
    finally:
        espeak._unload(held)
    assert len(synthesise(ENGLISH, "en", PLAIN, 1)) > 16000
