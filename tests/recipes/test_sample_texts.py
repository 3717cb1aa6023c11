"""The sample's texts, qualities, raters and systems: what they hold, and that they repeat with the seed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from recipes.sample.__main__ import main
from recipes.sample.context import archetype, bank, context, draw_moment, names_of
from recipes.sample.draw import SYSTEMS, draw_delivery
from recipes.sample.quality import archetype_quality, realism_quality
from recipes.sample.raters import RATERS, rate
from recipes.sample.speech import Delivery
from recipes.sample.voices import SEXES, SPLITS

PLAIN = Delivery(
    voice="adult_woman_f5", pitch_range=0.5, rate=0.5, pauses="natural", stress="none", loudness_range=0.3, level=0.6,
    emotion="neutral", intensity=0.5, artefact="none",
)  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_two_splits_share_cue_words_only(language):
    first, second = (bank(language)["splits"][split] for split in SPLITS)
    assert first.keys() == second.keys()
    for kind in first:
        assert not set(first[kind]) & set(second[kind]), kind
    for sex in SEXES:
        assert not set(names_of(language, SPLITS[0], sex)) & set(names_of(language, SPLITS[1], sex))


def test_texts_hold_the_cues_of_what_they_call_for():
    rng = np.random.default_rng(5)
    for _ in range(100):
        made = context(rng, "sample", "en")
        cues, nature, moment = bank("en")["cues"], made.nature, made.moment
        for axis in ("lively", "dynamic", "energetic"):
            right, wrong = (
                cues["style"][axis][flag]
                for flag in (getattr(nature, axis), 1 - getattr(nature, axis))
            )
            styles = made.char_style.split(", ")
            assert len(set(styles) & set(right)) == 1
            assert not set(styles) & set(wrong)
        assert any(word in made.local_scene.split() for word in cues["loud"][moment.loud])
        assert cues["person"][nature.sex][nature.age].split(" ", 1)[1] in made.char_profile
        if moment.emotion != "neutral":
            assert any(
                word in made.local_scene.lower().replace(",", "").replace(".", "").split()
                for word in cues["emotion"][moment.emotion]
            )
        assert 12 <= len(made.local_scene.split()) <= 28
        assert 4 <= len(made.transcript.split()) <= 13
        assert made.topic in made.transcript
        assert made.topic in made.local_scene


def test_contexts_and_deliveries_repeat_with_the_seed():
    def drawn(seed):
        rng = np.random.default_rng(seed)
        return [(context(rng), draw_delivery(rng, "sample", system="cedar")) for _ in range(5)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    with pytest.raises(ValueError, match="pretraining, sample"):
        context(np.random.default_rng(0), "test")


def test_an_archetype_question_names_role_mood_and_place():
    rng = np.random.default_rng(2)
    moment = replace(draw_moment(rng), emotion="anger", loud=1)
    made = archetype(rng, "sample", "en", "judge", moment, "ring")
    assert made.question.endswith("You say:")
    assert "judge" in made.question
    assert any(word in made.question for word in ("angry", "furious", "outraged"))
    assert any(word in made.question for word in ("noisy", "roaring", "deafening", "thundering"))
    assert " a angry" not in made.question


def test_quality_asks_text_and_sound_together():
    made = context(np.random.default_rng(0), "sample", "en")
    lively = replace(made.nature, lively=1)
    flat = replace(made.nature, lively=0)
    monotone, melodious = (replace(PLAIN, pitch_range=amount) for amount in (0.0, 1.0))

    def pitch(nature, delivery):
        return realism_quality(nature, made.moment, delivery)["pitch_variation"]

    # Clean and fluent, so half of the craft's 0.4 is full; a melody is the other half. The fit is 0.6 of it.
    # Stretched about 0.5 by 1.25: 0.6 + 0.4 = 1 -> 1.125, cut to 1; 0.6 + 0.2 = 0.8 -> 0.875;
    # 0 + 0.2 -> 0.125; 0 + 0.4 -> 0.375. A quality is 1 + 4 times that.
    assert pitch(lively, melodious) == 5.0
    assert pitch(flat, monotone) == pytest.approx(4.5)
    assert pitch(lively, monotone) == pytest.approx(1.5)
    assert pitch(flat, melodious) == pytest.approx(2.5)
    # Broken pauses halve the halo: 0.6 + 0.4 * (0.5 * 0 + 0.5 * 0.5) = 0.7 -> 0.75.
    assert pitch(flat, replace(monotone, pauses="broken")) == pytest.approx(4.0)
    angry = replace(made.moment, emotion="anger", loud=1)
    shouted = replace(PLAIN, emotion="anger", level=1.0)
    assert archetype_quality(angry, shouted)["appropriateness"] == 5.0
    whispered = replace(PLAIN, emotion="neutral", level=0.0)
    assert archetype_quality(angry, whispered)["appropriateness"] == 1.0


def test_raters_differ_in_bias_and_leave_gaps():
    rng = np.random.default_rng(0)
    rows = [rate({"trait_embodiment": 3.0}, rng)["trait_embodiment"] for _ in range(3000)]
    given = [[row[i] for row in rows if isinstance(row[i], int)] for i in range(len(RATERS))]
    means = [np.mean(values) for values in given]
    assert means[1] - means[0] == pytest.approx(0.35, abs=0.08)
    assert means[2] - means[0] == pytest.approx(-0.40, abs=0.08)
    gaps = Counter(value for row in rows for value in row if not isinstance(value, int))
    assert set(gaps) == {None, "N/A"}
    assert gaps.total() / 18000 == pytest.approx(0.17 / 6, abs=0.005)


def test_systems_have_habits():
    rng = np.random.default_rng(1)
    drawn = {
        name: [draw_delivery(rng, "sample", system=name) for _ in range(300)] for name in SYSTEMS
    }
    assert (
        max(d.pitch_range for d in drawn["birch"])
        <= 0.8
        < max(d.pitch_range for d in drawn["aspen"])
    )
    broken = {name: np.mean([d.pauses == "broken" for d in drawn[name]]) for name in drawn}
    assert broken["cedar"] > broken["aspen"] + 0.1
    faulty = {name: np.mean([d.artefact != "none" for d in drawn[name]]) for name in drawn}
    assert faulty["rowan"] > faulty["aspen"] + 0.15


def test_a_folder_with_other_clips_is_not_changed(tmp_path):
    clip = tmp_path / "archetype" / "clips" / "recorded_once.mp3"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"recorded once")
    with pytest.raises(SystemExit, match="holds something other than a sample"):
        main(["--out", str(tmp_path)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [clip]
