"""Scores as DataFrames, and scores as rewards of another training program."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
import torch

from dramaeval import Judge
from dramaeval.api.score_results import ClipScores, ScoreList, rewards

TEXTS = {"scene": "A quay.", "profile": "A sailor.", "age": "Adult", "style": "Calm", "transcript": "Ahoy."}  # fmt: skip
DIMENSIONS = ["emotion_accuracy", "trait_embodiment"]


@pytest.fixture(scope="module")
def tiny():
    return Judge.load("tiny", device="cpu")


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(size)).astype(np.float32) for size in (8000, 12000, 8000)]


def test_arrays_tensors_and_files_have_the_same_scores_and_frames(tiny, waves, tmp_path):
    soundfile.write(tmp_path / "a.wav", waves[0], 16_000, subtype="FLOAT")
    clips = [waves[0], torch.from_numpy(waves[0]), str(tmp_path / "a.wav"), waves[1]]
    scores = tiny.score(clips, dimensions=DIMENSIONS, sample_rate=16_000, **TEXTS)
    frame = scores.to_frame()
    assert list(frame) == [*DIMENSIONS, *(f"{key}.spread" for key in DIMENSIONS), "unscored"]
    assert frame["unscored"].isna().all()
    np.testing.assert_allclose(frame.iloc[0, :4].astype(float), frame.iloc[2, :4].astype(float), atol=1e-5)  # fmt: skip
    for number, of_clip in enumerate(scores):
        alone = of_clip.to_frame()
        assert list(alone.index) == DIMENSIONS
        assert list(alone["expected"]) == [frame.loc[number, key] for key in DIMENSIONS]
        for _, row in alone.iterrows():
            mean = sum(k * p for k, p in zip(row["scale"], row["distribution"], strict=True))
            assert row["expected"] == pytest.approx(mean, abs=1e-5)
    with pytest.raises(ValueError, match="give one of them"):
        tiny.score(waves[0], sample_rate=8000, sampling_rate=16_000, **TEXTS)
    with pytest.raises(ValueError, match=r'judge\.score\("clip\.wav", .*transcript="…"\)'):
        tiny.score(waves[0], scene="A quay.")


def test_a_reward_is_the_mean_of_the_scores_scaled_to_0_1(tiny, waves):
    scores = tiny.score(waves, dimensions=DIMENSIONS, **TEXTS)
    expected = [[(clip[key].expected - 1) / 4 for key in DIMENSIONS] for clip in scores]
    reward = tiny.reward(waves, 16_000, TEXTS, dimensions=DIMENSIONS)
    assert (reward.dtype, reward.device, reward.requires_grad) == (
        torch.float32, next(tiny.model.parameters()).device, False,
    )  # fmt: skip
    np.testing.assert_allclose(reward, np.mean(expected, axis=1), atol=1e-5)
    of_two = torch.from_numpy(np.stack([waves[0], waves[2]]))
    each = tiny.reward(of_two, texts=TEXTS, dimensions=DIMENSIONS, per_dimension=True)
    np.testing.assert_allclose(each, [expected[0], expected[2]], atol=1e-5)
    one = tiny.reward(waves, 16_000, TEXTS, dimensions=DIMENSIONS, weights={DIMENSIONS[1]: 2})
    np.testing.assert_allclose(one, [row[1] for row in expected], atol=1e-5)


class Fixed:
    """A score with given values."""

    def __init__(self, expected, state="scored", scale=(1.0, 2.0, 3.0)):
        self.expected, self.state, self.scale = expected, state, scale
        self.spread = None if expected is None else 0.5
        self.distribution = None


def test_a_missing_score_is_nan_with_its_reason_and_never_a_number():
    first = ClipScores(a=Fixed(3.0), b=Fixed(0.0, scale=(-1.0, 1.0)))
    scores = ScoreList([first, ClipScores(a=Fixed(None, "no end"), b=Fixed(1.0))])
    frame = scores.to_frame()
    assert math.isnan(frame.loc[1, "a"])
    assert list(frame["unscored"].fillna("")) == ["", "a: no end"]
    # (3 − 1) / (3 − 1) = 1; (0 + 1) / (1 + 1) = 0.5; weighted 3:1: 0.875.
    assert rewards(scores, ["a", "b"], {"a": 3, "b": 1}, False)[0] == pytest.approx(0.875)
    plain = rewards(scores, ["a", "b"], None, False)
    assert (plain[0].item(), math.isnan(plain[1])) == (0.75, True)
    assert rewards(scores, ["a", "b"], {"b": 1}, False).tolist() == [0.5, 0.0]
    no_numbers = [{"a": 1, "b": float(text)} for text in ("nan", "inf", "-inf")]
    for weights in ({"c": 1}, {"a": -1, "b": 2}, {"a": 0}, {}, *no_numbers, {"a": float("nan")}):
        with pytest.raises(ValueError, match="must be finite, 0 or more"):
            rewards(scores, ["a", "b"], weights, False)
    assert rewards([], ["a"], None, False).shape == (0,)
    assert ScoreList().to_frame().empty
