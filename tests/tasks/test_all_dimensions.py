"""The task role_all: its question, the order of the scores in an answer, and whose rating each score is."""

from collections import Counter

import numpy as np
import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.stages.builders import build_task
from dramaeval.training.question_sampler import sample_questions


@pytest.fixture
def task_and_record(composed, make_clips):
    def build(*overrides):
        task = build_task(composed("task=role_all", *overrides))
        (record,) = task.read(make_clips("a", 1)).records
        return task, record

    return build


def with_ratings(record, **rows):
    return type(record)(**{**vars(record), "ratings": {**record.ratings, **rows}})


def test_one_question_has_all_ten_dimensions_in_rubric_order(task_and_record):
    task, record = task_and_record()
    (question,) = task.questions(record, task.dimensions)
    assert question.solution((3, 2, 0, 0, 0, 0, 0, 0, 0, 4)) == (
        "<answer>[PitchDynamics]4[RhythmicNaturalness]3[StressAndEmphasis]1[EmotionAccuracy]1"
        "[EmotionIntensity]1[EmotionalDynamicRange]1[VoiceIdentity]1[TraitEmbodiment]1[FitToTheScene]1"
        "[FitToTheWholeStory]5</answer>"
    )
    text = question.messages[1]["content"][1]["text"]
    for one in task.dimensions:
        assert f"[{one.label}] {one.title}: {one.description}" in text
        for score, meaning in one.scores.items():
            assert f"{score}: {meaning}" in text
    assert "in this order" in text


def test_shuffled_orders_differ_and_keep_the_prompt(task_and_record):
    task, record = task_and_record("task.order=shuffled")
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    drawn = [task.questions(record, task.dimensions, rng)[0] for rng in rngs]
    orders = [tuple(place.dimension.key for place in one.answer_fields) for one in drawn]
    assert len(set(orders)) > 30
    assert {frozenset(one) for one in orders} == {frozenset(orders[0])}
    assert all(one.messages == drawn[0].messages for one in drawn)
    assert "in any order" in drawn[0].messages[1]["content"][1]["text"]
    (scored,) = task.questions(record, task.dimensions)
    assert [place.dimension for place in scored.answer_fields] == list(task.dimensions)


ROWS = {"pitch_variation": (1, 5, None), "rhythmic_naturalness": (2, 4, 4)}
TWO_DIMENSIONS = "task.dimensions=[pitch_dynamics,rhythmic_naturalness]"


def test_with_rater_consistent_all_scores_of_an_answer_are_of_one_rater(task_and_record):
    task, record = task_and_record("task.rater=consistent", TWO_DIMENSIONS)
    record = with_ratings(record, **ROWS)
    rng = np.random.default_rng(0)
    written = Counter()
    for _ in range(200):
        targets = task.targets(record, task.dimensions, rng)
        written[tuple(1 + one.written for one in targets.values())] += 1
        # The targets stay the raters' histogram.
        np.testing.assert_allclose(targets["pitch_dynamics"].distribution, [0.5, 0, 0, 0, 0.5])
    # The third rater left a dimension out, so only the other two are drawn.
    assert set(written) == {(1, 2), (5, 4)}
    assert min(written.values()) > 60  # 100 ± 4 · 7


def test_with_rater_independent_each_score_is_drawn_on_its_own(task_and_record):
    task, record = task_and_record(TWO_DIMENSIONS)
    record = with_ratings(record, **ROWS)
    rng = np.random.default_rng(0)
    written = Counter(
        tuple(1 + one.written for one in task.targets(record, task.dimensions, rng).values())
        for _ in range(300)
    )
    # Each of the two pitch ratings has the share 1/2; rhythm is 2 with the share 1/3 and 4 with 2/3.
    assert set(written) == {(1, 2), (1, 4), (5, 2), (5, 4)}
    assert abs(written[1, 4] - 100) < 40


@pytest.mark.parametrize("rater", ["consistent", "independent"])
def test_with_sampled_labels_the_target_is_the_written_score(task_and_record, rater):
    task, record = task_and_record("task.labels=sample", f"task.rater={rater}", TWO_DIMENSIONS)
    record = with_ratings(record, **ROWS)
    rng = np.random.default_rng(0)
    for _ in range(50):
        for one in task.targets(record, task.dimensions, rng).values():
            assert one.distribution[one.written] == 1


def test_a_dimension_that_the_drawn_rater_left_out_is_not_asked(task_and_record):
    task, record = task_and_record("task.rater=consistent", TWO_DIMENSIONS)
    record = with_ratings(
        record, pitch_variation=(None, None, None), rhythmic_naturalness=(2, None, 3)
    )
    dimensions, targets = sample_questions(task, record, (0, 0, 0))
    assert [one.key for one in dimensions] == ["rhythmic_naturalness"] == list(targets)
    (question,) = task.questions(record, dimensions)
    assert "PitchDynamics" not in question.messages[1]["content"][1]["text"]


def test_a_rubric_in_another_language_gives_its_own_question(composed, make_clips):
    task = build_task(
        composed(
            "task=role_all",
            TWO_DIMENSIONS,
            "+task.rubric.together='Bewerte:\\n{items}\\nAntworte mit <answer>{form}</answer>.'",
            "+task.rubric.item='{label} heißt {title}'",
        )
    )
    (record,) = task.read(make_clips("a", 1)).records
    text = task.questions(record, task.dimensions)[0].messages[1]["content"][1]["text"]
    assert "PitchDynamics heißt Pitch dynamics" in text
    assert text.endswith("<answer>[PitchDynamics]score[RhythmicNaturalness]score</answer>.")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.order=random", "task.order=random is not known; choose one of fixed, shuffled"),
        ("task.rater=me", "task.rater=me is not known"),
        ("task.earlier=left_out", "set task.order=shuffled"),
        ("task.rubric.dimensions.0.title='Emotion accuracy'", "EmotionAccuracy stand for several"),
    ],
)
def test_wrong_settings_are_refused(composed, override, message):
    with pytest.raises(ConfigError, match=message):
        build_task(composed("task=role_all", override))
