"""The sample's texts, qualities, raters and systems: their content, and that a seed reproduces them."""

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
def test_the_word_lists_of_the_two_splits_do_not_overlap(language):
    first, second = (bank(language)["splits"][split] for split in SPLITS)
    assert first.keys() == second.keys()
    for kind in first:
        assert not set(first[kind]) & set(second[kind]), kind
    for sex in SEXES:
        assert not set(names_of(language, SPLITS[0], sex)) & set(names_of(language, SPLITS[1], sex))


def test_texts_contain_the_cue_words_of_nature_and_moment():
    rng = np.random.default_rng(5)
    for _ in range(100):
        written = context(rng, "sample", "en")
        cues, nature, moment = bank("en")["cues"], written.nature, written.moment
        for axis in ("lively", "dynamic", "energetic"):
            wanted, opposite = (
                cues["style"][axis][flag]
                for flag in (getattr(nature, axis), 1 - getattr(nature, axis))
            )
            styles = written.char_style.split(", ")
            assert len(set(styles) & set(wanted)) == 1
            assert not set(styles) & set(opposite)
        assert any(word in written.local_scene.split() for word in cues["loud"][moment.loud])
        assert cues["person"][nature.sex][nature.age].split(" ", 1)[1] in written.char_profile
        if moment.emotion != "neutral":
            assert any(
                word in written.local_scene.lower().replace(",", "").replace(".", "").split()
                for word in cues["emotion"][moment.emotion]
            )
        assert 12 <= len(written.local_scene.split()) <= 28
        assert 4 <= len(written.transcript.split()) <= 13
        assert written.topic in written.transcript
        assert written.topic in written.local_scene


def test_contexts_and_deliveries_are_reproducible_from_the_seed():
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
    written = archetype(rng, "sample", "en", "judge", moment, "ring")
    assert written.question.endswith("You say:")
    assert "judge" in written.question
    assert any(word in written.question for word in ("angry", "furious", "outraged"))
    assert any(word in written.question for word in ("noisy", "roaring", "deafening", "thundering"))
    assert " a angry" not in written.question


def test_quality_by_hand_from_the_fit_to_the_text_and_the_craft():
    written = context(np.random.default_rng(0), "sample", "en")
    lively = replace(written.nature, lively=1)
    flat = replace(written.nature, lively=0)
    monotone, melodious = (replace(PLAIN, pitch_range=amount) for amount in (0.0, 1.0))

    def pitch(nature, delivery):
        return realism_quality(nature, written.moment, delivery)["pitch_variation"]

    # The fit to the text counts 0.6 and the craft 0.4. Half of the craft is a clean and fluent recording, as here; the
    # other half is a melodious pitch. The sum is stretched around 0.5 by 1.25: 0.6 + 0.4 = 1 -> 1.125, cut to 1;
    # 0.6 + 0.2 = 0.8 -> 0.875; 0 + 0.2 -> 0.125; 0 + 0.4 -> 0.375. The quality is 1 + 4 times the result.
    assert pitch(lively, melodious) == 5.0
    assert pitch(flat, monotone) == pytest.approx(4.5)
    assert pitch(lively, monotone) == pytest.approx(1.5)
    assert pitch(flat, melodious) == pytest.approx(2.5)
    # Broken pauses halve the fluency: 0.6 + 0.4 * (0.5 * 0 + 0.5 * 0.5) = 0.7 -> 0.75.
    assert pitch(flat, replace(monotone, pauses="broken")) == pytest.approx(4.0)
    angry = replace(written.moment, emotion="anger", loud=1)
    shouted = replace(PLAIN, emotion="anger", level=1.0)
    assert archetype_quality(angry, shouted)["appropriateness"] == 5.0
    whispered = replace(PLAIN, emotion="neutral", level=0.0)
    assert archetype_quality(angry, whispered)["appropriateness"] == 1.0


def test_raters_differ_in_bias_and_leave_out_some_ratings():
    rng = np.random.default_rng(0)
    rows = [rate({"trait_embodiment": 3.0}, rng)["trait_embodiment"] for _ in range(3000)]
    given = [[row[i] for row in rows if isinstance(row[i], int)] for i in range(len(RATERS))]
    means = [np.mean(values) for values in given]
    assert means[1] - means[0] == pytest.approx(0.35, abs=0.08)
    assert means[2] - means[0] == pytest.approx(-0.40, abs=0.08)
    missing = Counter(value for row in rows for value in row if not isinstance(value, int))
    assert set(missing) == {None, "N/A"}
    assert missing.total() / 18000 == pytest.approx(0.17 / 6, abs=0.005)


def test_systems_differ_in_their_deliveries():
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
