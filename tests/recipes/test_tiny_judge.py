"""The recipe of the tiny judge: its questions, its independence of ratings, resuming, and a short complete run."""

import contextlib
import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from recipes.sample.context import Character, Context, Moment, Nature, words_of
from recipes.sample.speech import Delivery, spoken
from recipes.sample.voices import VOICES
from recipes.tiny_judge import comparisons, questions
from recipes.tiny_judge.audio_pretraining import batch_of_similar_lengths
from recipes.tiny_judge.auxiliary_heads import fact_indices
from recipes.tiny_judge.clips import (
    REFERENCE_PITCH,
    draw,
    melody,
    render,
    render_all,
    stressed_share,
)
from recipes.tiny_judge.comparisons import Item
from recipes.tiny_judge.neutral_scores import neutralise_scores
from recipes.tiny_judge.questions import ANSWERS
from recipes.tiny_judge.recipe import Plan, Recipe, read_wording
from recipes.tiny_judge.training_stage import StageSettings, train_stage
from recipes.tiny_judge.voices import more_voices

# A lively, forceful old woman who stresses words, in a quiet and urgent scene of overwhelming anger.
NATURE = Nature(sex="woman", age="elderly", lively=1, dynamic=0, energetic=1, emphatic=1)
MOMENT = Moment(urgent=1, loud=0, emotion="anger", intensity=1)
# Spoken by a teenage boy: monotone, fast, with broken pauses, unstressed, quiet, without emotion.
DELIVERY = Delivery(
    voice="teenager_man_m3",
    pitch_range=0.1,
    rate=0.9,
    pauses="broken",
    stress="none",
    loudness_range=0.45,
    level=0.05,
    emotion="neutral",
    intensity=0.9,
    artefact="clipping",
)
CHARACTER = Character(
    key="Anna Fox",
    name="Anna Fox",
    language="en",
    nature=NATURE,
    char_age="Elderly",
    char_style="Playful",
    char_profile="Anna Fox sells flowers.",
)
CONTEXT = Context(
    character=CHARACTER, moment=MOMENT, local_scene="A scene.", transcript="A hat.", topic="hat"
)
ITEM = Item(delivery=DELIVERY, context=CONTEXT, transcript="A hat.", language="en")


@pytest.fixture(scope="module", autouse=True)
def voices_of_the_sample_alone_afterwards():
    """The recipe adds its voices to the synthesiser's for the rest of the process."""
    before = dict(VOICES)
    yield
    VOICES.clear()
    VOICES.update(before)


def test_facts_of_a_clip_and_a_text_and_of_their_comparison():
    assert questions.facts(ITEM) == {
        "hear:pitch_range": "monotone",
        "hear:rate": "fast",
        "hear:loudness_range": "moderate",
        "hear:level": "hushed",
        "hear:intensity": "none",
        "hear:pauses": "broken",
        "hear:stress": "none",
        "hear:emotion": "neutral",
        "hear:artefact": "clipping",
        "hear:sex": "man",
        "hear:age": "teenager",
        "hear:language": "English",
        "read:lively": "lively",
        "read:dynamic": "even",
        "read:energetic": "forceful",
        "read:emphatic": "yes",
        "read:urgent": "fast",
        "read:loud": "hushed",
        "read:emotion": "anger",
        "read:intensity": "overwhelming",
        "read:sex": "woman",
        "read:age": "elderly",
        "compare:pitch": "far too flat",  # 0.1 for 1
        "compare:swing": "somewhat too stormy",  # 0.45 for 0
        "compare:pace": "fitting",  # 0.9 for 1
        "compare:pauses": "far broken",
        "compare:stress": "somewhat too plain",
        "compare:emotion": "clearly neutral for anger",
        "compare:strength": "far too weak",  # nothing for 1
        "compare:level": "fitting",  # 0.05 for 0
        "compare:energy": "somewhat too gentle",  # (0.9 + 0.05) / 2 for 1
        "compare:voice": "far a man",
    }


def test_every_fact_has_an_index_among_the_answers():
    assert list(questions.facts(ITEM)) == list(questions.PHRASINGS)
    indices = dict(zip(ANSWERS, fact_indices(questions.facts(ITEM)), strict=True))
    assert set(indices) == set(questions.PHRASINGS)
    assert indices["compare:pitch"] == 4  # the farthest of five
    assert indices["hear:rate"] == 4
    assert indices["read:age"] == 3


def questions_under_the_rubric(keys, rounds=40):
    rng = np.random.default_rng(0)
    rubric = read_wording().rubric
    return [one for _ in range(rounds) for one in questions.under_rubric(ITEM, rubric, keys, rng)]


def test_digits_are_answers_to_counting_and_the_target_of_scores_is_uniform():
    keys = [one.key for one in read_wording().rubric.dimensions]
    given_questions = questions.plain(
        ITEM, 400, np.random.default_rng(0)
    ) + questions_under_the_rubric(keys)
    with_digits = {
        one.kind for one in given_questions if any(letter.isdigit() for letter in one.answer)
    }
    assert with_digits == {"count:letter", "score"}
    for one in given_questions:
        if one.kind == "count:letter":
            letter = one.text.removesuffix("?").split(" ")[-1]
            assert one.answer == {"a": "2", "h": "1", "t": "1"}[letter]
        if one.kind == "score":
            assert one.options == ("1", "2", "3", "4", "5")
            assert one.spread == (0.2,) * 5


def test_questions_under_the_rubric_hold_its_text_and_ask_for_words():
    one = read_wording().rubric["rhythmic_naturalness"]
    by_kind = {
        given_questions.kind: given_questions
        for given_questions in questions_under_the_rubric([one.key])
    }
    assert set(by_kind) == {
        "score",
        "rubric:rhythmic_naturalness",
        "rubric:rhythmic_naturalness:pace",
        "rubric:rhythmic_naturalness:pauses",
    }
    for kind, given_questions in by_kind.items():
        assert given_questions.text.startswith(
            f"{one.title}: {one.description}\n1: {one.scores[1]}\n"
        )
        assert ("word" in given_questions.text.splitlines()[-1]) == (kind != "score")
    assert by_kind["rubric:rhythmic_naturalness:pauses"].answer == "far broken"
    both_aspects = by_kind["rubric:rhythmic_naturalness"]
    # The pace differs by 0.1 and the pauses by 1; the mean of 0.55 is between the third and the fourth of five words.
    assert both_aspects.spread == pytest.approx((0, 0, 0.8, 0.2, 0))
    assert both_aspects.answer == "somewhat"


def test_distances_between_clip_and_text_for_every_dimension():
    assert comparisons.distances(ITEM) == pytest.approx(
        # pitch, swing, pace, level, energy, strength; pauses, stress, emotion, voice: another sex, two ages off
        [0.9, 0.45, 0.1, 0.05, 0.525, 1.0, 1.0, 0.5, 0.7, 1.0]
    )
    keys = [one.key for one in read_wording().rubric.dimensions]
    by_dimension = {one.kind: one.distance for one in questions_under_the_rubric(keys)}
    assert by_dimension["rubric:rhythmic_naturalness"] == pytest.approx((0.1 + 1.0) / 2)
    assert by_dimension["rubric:trait_embodiment"] == pytest.approx((0.525 + 0.9 + 0.45) / 3)
    assert None not in by_dimension.values()
    assert questions.plain(ITEM, 1, np.random.default_rng(0))[0].distance is None


def test_questions_for_scores_have_the_wording_of_the_rubric():
    rubric = read_wording().rubric
    given_questions = questions.for_scores(rubric)
    assert [one.text for one in given_questions] == [
        rubric.criterion(one) for one in rubric.dimensions
    ]


def test_neutralised_scores_do_not_depend_on_the_states():
    generator = torch.Generator().manual_seed(0)
    # Of 64 dimensions, 16 have a very small variance.
    scale = torch.cat([torch.ones(48), torch.full((16,), 1e-3)])
    states = (torch.randn(800, 64, generator=generator) + 1) * scale
    head = nn.Linear(64, 30, bias=False)
    scores = torch.arange(5)
    before = head.weight.detach().clone()
    spread = (states @ before[scores].T).std(0)
    neutralise_scores(head, scores, states)
    after = states @ head.weight.detach()[scores].T
    # All scores keep their common mean; the differences between them are as small as the 16 dimensions.
    differences = after - after.mean(1, keepdim=True)
    assert differences.abs().max() < 0.02 * spread.mean()
    centred = head.weight.detach()[scores] - head.weight.detach()[scores].mean(0)
    assert centred.norm(dim=1).min() > 0.5 * before.norm(dim=1).median()
    torch.testing.assert_close(head.weight.detach()[5:], before[5:])


def test_signed_differences_between_clip_and_text():
    # pitch, swing, pace, level, energy, strength
    assert comparisons.differences(ITEM) == pytest.approx([-0.9, 0.45, -0.1, 0.05, -0.525, -1.0])


def test_the_recipe_imports_no_module_with_ratings():
    def imported_recipes():
        return {name: sys.modules[name] for name in sys.modules if name.startswith("recipes")}

    before = imported_recipes()
    try:
        for name in before:
            del sys.modules[name]
        importlib.import_module("recipes.tiny_judge.__main__")
        loaded = set(imported_recipes())
    finally:
        for name in imported_recipes():
            del sys.modules[name]
        sys.modules.update(before)
    assert "recipes.sample.speech" in loaded
    for module in ("quality", "raters", "plan", "build", "figures"):
        assert f"recipes.sample.{module}" not in loaded


def test_training_clips_use_other_voices_than_the_sample():
    drawn = draw(300, "pretraining", 5)
    samples = {voice.variant for voice in VOICES.values() if voice.split == "sample"}
    assert samples
    assert not samples & {VOICES[one.delivery.voice].variant for one in drawn}
    assert not samples & {voice.variant for voice in more_voices().values()}
    assert len({one.delivery.voice for one in drawn}) > 50
    for one in drawn:
        assert one.topic in words_of(one.language, "pretraining", "nouns")
        assert one.topic in one.transcript


def test_the_melody_of_a_tone_is_its_pitch_and_of_noise_undefined():
    time = np.arange(16_000) / 16_000
    tone = sum(np.sin(2 * np.pi * 220 * k * time) / k for k in (1, 2, 3, 4))
    pitch = melody(tone.astype(np.float32), 24)[1:-1]
    assert pitch == pytest.approx(np.log2(220 / REFERENCE_PITCH), abs=0.03)
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert np.isnan(melody(noise, 24)).mean() > 0.9


def test_the_share_of_stress_of_each_moment():
    # Tokens of 640 samples: the second half of the first, the second whole, a quarter of the third.
    share = stressed_share([(320, 1440), (-50, -10)], 4)
    assert share.tolist() == [0.5, 1.0, 0.25, 0.0]


def test_stressed_moments_are_louder_than_the_others():
    gains, unstressed = [], {"none": 0, "content": 0, "misplaced": 0}
    for one in draw(40, "pretraining", 8):
        plain = replace(one.delivery, loudness_range=0.3, artefact="none", emotion="neutral")
        for stress in ("none", "content", "misplaced"):
            line = spoken(one.transcript, one.language, replace(plain, stress=stress), one.seed)
            unstressed[stress] += not line.stressed
            if not line.stressed:
                continue
            tokens = len(line.samples) // 640
            power = np.square(line.samples[: tokens * 640]).reshape(tokens, 640).mean(1)
            share = stressed_share(line.stressed, tokens)
            decibels = 10 * np.log10(power + 1e-7)
            is_voice = decibels > decibels.max() - 25
            if (share[is_voice] > 0.9).any() and (share[is_voice] < 0.1).any():
                inside = decibels[is_voice & (share > 0.9)].mean()
                gains.append(inside - decibels[is_voice & (share < 0.1)].mean())
    # A short line may lack function words, on which stress could be misplaced.
    assert (unstressed["none"], unstressed["content"]) == (40, 0)
    assert unstressed["misplaced"] <= 2
    assert len(gains) > 60
    assert np.mean(gains) > 2


def test_rendered_clips_are_read_back_and_not_rendered_again(tmp_path):
    drawn = draw(3, "pretraining", 6)
    seen = []
    first = render_all(drawn, tmp_path, 1, lambda done, of: seen.append((done, of)))
    again = render_all(drawn, tmp_path, 1, lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for one, other, line in zip(first, again, drawn, strict=True):
        fresh = render(line)
        for kept in (one, other):
            assert kept.features.frames == fresh.features.frames
            np.testing.assert_allclose(kept.features.values, fresh.features.values, atol=2e-3)
            np.testing.assert_array_equal(kept.melody, fresh.melody)
            np.testing.assert_array_equal(kept.stressed, fresh.stressed)


def test_batches_have_every_clip_once_per_round_and_similar_lengths():
    lengths = np.random.default_rng(0).integers(100, 600, size=400)
    batches = [batch_of_similar_lengths(lengths, 20, step, seed=3) for step in range(20)]
    assert sorted(np.concatenate(batches)) == list(range(400))
    assert np.mean([np.ptp(lengths[rows]) for rows in batches]) < 200
    other = [batch_of_similar_lengths(lengths, 20, step, seed=3) for step in range(20, 40)]
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


def test_an_interrupted_training_stage_ends_with_the_same_result(tmp_path):
    inputs = torch.randn(40, 8, 4, generator=torch.Generator().manual_seed(0))

    def train(folder, stop_at=None):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)

        def loss_at(step):
            if step == stop_at:
                raise KeyboardInterrupt
            return (model(inputs[step]) - inputs[step].sum(1, keepdim=True)).square().mean()

        stage = StageSettings(name="sums", steps=40, rate=0.1, snapshot_every=10)
        with contextlib.suppress(KeyboardInterrupt):
            train_stage(stage, model, loss_at, folder, lambda line: None)
        return model.weight.detach().clone()

    complete = train(tmp_path / "complete")
    train(tmp_path / "broken", stop_at=25)
    assert torch.equal(train(tmp_path / "broken"), complete)
    assert complete.mean() > 0.5  # the model has learnt to sum


@pytest.mark.slow
def test_a_short_run_of_the_recipe_writes_a_judge(tmp_path):
    plan = replace(
        Plan(processes=1).shortened(0.002),
        audio_batch=8, checked_clips=2, tokenizer_lines=1_000, score_records=20,
    )  # fmt: skip
    figures = Recipe(plan, tmp_path / "work").run(tmp_path / "tiny")
    assert 0 <= figures["words"]["hear:rate"] <= 1
    model = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path / "tiny")
    processor = Qwen2AudioProcessor.from_pretrained(tmp_path / "tiny")
    assert model.config.audio_token_id == processor.audio_token_id
    # The written weights are those of the two training stages.
    lessons = torch.load(tmp_path / "work" / "lessons.pt", weights_only=True)["model"]
    audio_tower = torch.load(tmp_path / "work" / "audio.pt", weights_only=True)["model"]
    weights = model.state_dict()
    name = "model.multi_modal_projector.linear.weight"
    assert torch.equal(weights[name], lessons[f"encoded_judge.{name}"])
    # In the head, only the rows of the digits are changed after the lessons.
    changed_rows = (
        (weights["lm_head.weight"] != lessons["encoded_judge.lm_head.weight"]).any(1).nonzero()
    )
    digits = processor.tokenizer.convert_tokens_to_ids(list("0123456789"))
    assert changed_rows.flatten().tolist() == sorted(digits)
    assert torch.equal(weights["model.audio_tower.conv1.weight"], audio_tower["tower.conv1.weight"])
