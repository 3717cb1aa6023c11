"""Augmentation of training clips: the kinds of changes and their limits."""

import numpy as np
import pytest

from dramaeval.data.augmentation import (
    GAIN_DB,
    MASKED_BINS,
    MASKED_TIME,
    SPEED,
    Augmentation,
)
from dramaeval.data.logmel import ClipFeatures


def test_light_changes_of_gain_speed_and_noise_have_the_stated_size():
    light, rate, tone = Augmentation("light"), 16000, 440.0
    wave = (0.3 * np.sin(2 * np.pi * tone * np.arange(rate) / rate)).astype(np.float32)
    gains, pitches = [], []
    for seed in range(40):
        changed = light.waveform(wave, rate, np.random.default_rng(seed))
        assert changed.dtype == np.float32
        spectrum = np.abs(np.fft.rfft(changed[: rate // 2] * np.hanning(rate // 2), 8 * rate))
        at = np.arange(len(spectrum)) / 8
        pitch = at[spectrum.argmax()]
        pitches.append(pitch / tone)
        gains.append(20 * np.log10(np.sqrt(np.mean(changed**2)) / np.sqrt(np.mean(wave**2))))
        assert len(changed) == pytest.approx(rate * tone / pitch, rel=2e-3)
        # Without the tone, only the noise is left, 30 to 40 dB below the tone.
        fit = np.stack(
            [f(2 * np.pi * pitch * np.arange(rate // 2) / rate) for f in (np.sin, np.cos)]
        )
        part = changed[2000 : 2000 + rate // 8]
        basis = fit[:, 2000 : 2000 + rate // 8]
        rest = part - basis.T @ np.linalg.lstsq(basis.T, part, rcond=None)[0]
        ratio = 10 * np.log10(np.mean(part**2) / np.mean(rest**2))
        assert 25 < ratio < 42
    assert max(np.abs(gains)) <= GAIN_DB + 0.1
    assert max(gains) > 4
    assert min(gains) < -4
    assert max(np.abs(np.array(pitches) - 1)) <= SPEED + 0.002
    assert max(pitches) > 1.02
    assert min(pitches) < 0.98


def test_light_changes_do_not_exceed_30_s_or_full_scale():
    light, rate = Augmentation("light"), 16000
    full = np.random.default_rng(0).uniform(-1, 1, rate).astype(np.float32)
    long = np.ones(30 * rate, dtype=np.float32) / 2
    for seed in range(20):
        assert len(light.waveform(long, rate, np.random.default_rng(seed))) <= 30 * rate
    silent = light.waveform(np.zeros(rate, dtype=np.float32), rate, np.random.default_rng(0))
    assert not silent.any()
    quiet = Augmentation("light", ("noise",)).waveform(full / 8, rate, np.random.default_rng(1))
    assert np.abs(quiet).max() <= 1


def test_a_kind_that_is_left_out_is_not_applied():
    rate = 16000
    wave = np.random.default_rng(0).normal(0, 0.1, rate).astype(np.float32)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        same = Augmentation("strong", ("gain", "noise", "speed", "mp3")).waveform(wave, rate, rng)
        np.testing.assert_array_equal(same, wave)
        rng = np.random.default_rng(seed)
        louder = Augmentation("strong", ("noise", "speed", "mp3")).waveform(wave, rate, rng)
        ratios = louder[wave != 0] / wave[wave != 0]
        assert ratios == pytest.approx(ratios[0], rel=1e-4)
        rng = np.random.default_rng(seed)
        faster = Augmentation("light", ("gain", "noise")).waveform(wave, rate, rng)
        assert len(faster) != len(wave)
        assert len(faster) <= len(wave) * Augmentation("light").stretch + 1


def test_strong_noise_has_lower_signal_to_noise_ratios():
    rate, ratios = 16000, []
    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)
    for seed in range(60):
        augmentation = Augmentation("strong", ("gain", "speed", "mp3"))
        noise = augmentation.waveform(wave, rate, np.random.default_rng(seed)) - wave
        ratios.append(10 * np.log10(np.mean(wave**2) / np.mean(noise**2)))
    assert min(ratios) < 20


def test_masks_cover_bins_and_frames_with_the_mean():
    values = np.random.default_rng(0).normal(size=(80, 402)).astype(np.float32)
    clip = ClipFeatures(values, 400, -1.0, key="k")
    assert Augmentation("light").features(clip, np.random.default_rng(0)) is clip
    widest = 0
    for seed in range(20):
        masked = Augmentation("strong").features(clip, np.random.default_rng(seed))
        assert masked.key == ""
        assert (masked.frames, masked.floor) == (400, -1.0)
        changed = masked.values != values
        assert masked.values[changed] == pytest.approx(values[:, :400].mean(), abs=1e-6)
        rows, columns = changed.all(axis=1).sum(), changed.all(axis=0).sum()
        assert rows <= 2 * 80 * MASKED_BINS
        assert columns <= 2 * 400 * MASKED_TIME
        widest = max(widest, rows + columns)
        assert not changed[:, 400:][~changed.all(axis=1)].any()
    assert widest > 10
    np.testing.assert_array_equal(clip.values, values)
