"""The control ``phrasing``: mean scores over several wordings, and the spread between wordings."""

from dataclasses import replace

import numpy as np
import pytest

from dramaeval.evaluation.controls.control_context import NotPossibleError
from dramaeval.evaluation.controls.phrasing import averaged, phrasing, spread
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task


def test_the_spread_by_hand(make_prediction):
    by_wording = [
        [make_prediction("a", 2.0, (3,)), make_prediction("b", 4.0, (3,))],
        [make_prediction("a", 3.0, (3,)), make_prediction("b", 4.0, (3,))],
        [make_prediction("a", 4.0, (3,)), make_prediction("b", None, (3,))],
    ]
    # a has the scores 2, 3, 4 with a variance of 1; b is not scored with every wording.
    assert spread(by_wording) == {
        "phrasings": 3,
        "dimensions": {"trait_embodiment": {"mean_deviation": 1.0, "largest_range": 2.0, "n": 1}},
    }


def test_distributions_are_averaged(make_prediction):
    """The scores under the wordings of one of the judge's own predictions are not those of their mean."""
    low, high = (1.0, 0, 0, 0, 0), (0, 0, 0, 0.5, 0.5)
    by_wording = [
        [replace(make_prediction("a", 1.0, (3,), distribution=low), wordings=(1.5, 0.5))],
        [make_prediction("a", 4.5, (3,), distribution=high)],
    ]
    (one,) = averaged(by_wording)
    assert one.distribution == (0.5, 0, 0, 0.25, 0.25)
    assert one.expected == pytest.approx(2.75)
    assert one.wordings is None
    by_wording[1] = [make_prediction("a", None, (3,), state="unreadable clip: torn")]
    (one,) = averaged(by_wording)
    assert (one.expected, one.state) == (None, "unreadable clip: torn")


TWO_DIMENSIONS = "task.dimensions=[pitch_dynamics,trait_embodiment]"


@pytest.mark.slow
def test_the_task_role_is_scored_with_several_wordings(build_context):
    context = build_context()
    by_wording = []

    def score(records, record_encoder):
        by_wording.append(
            [
                record_encoder.task.criterion(dimension)
                for dimension in record_encoder.task.dimensions
            ]
        )
        return context.score(records, record_encoder)

    result, extra = phrasing(replace(context, phrasings=3, score=score))
    assert extra["phrasings"] == 3
    assert by_wording[0] == [
        context.task.rubric.criterion(dimension) for dimension in context.task.dimensions
    ]
    assert len({text for texts in by_wording for text in texts}) == 3 * len(context.task.dimensions)
    # The first wording is that of the task.
    judge = context.score(context.records, context.record_encoder)
    assert [(entry.id, entry.dimension) for entry in result] == [
        (prediction.id, prediction.dimension) for prediction in judge
    ]
    assert extra["dimensions"]["pitch_dynamics"]["mean_deviation"] > 0
    differences = [abs(a.expected - b.expected) for a, b in zip(result, judge, strict=True)]
    assert (
        0
        < max(differences)
        <= max(dimension["largest_range"] for dimension in extra["dimensions"].values())
    )
    assert np.isfinite(differences).all()


@pytest.mark.slow
def test_evaluation_phrasings_replaces_wordings_in_scoring(build_context, composed):
    """Each of the `evaluation.phrasings` wordings is scored separately, whatever `task.wordings_in_scoring` is."""
    context = build_context()
    task = build_task(composed("task=role_variation", TWO_DIMENSIONS, "task.wordings_in_scoring=2"))
    record_encoder = replace_task(context.record_encoder, task)
    _, extra = phrasing(replace(context, task=task, record_encoder=record_encoder, phrasings=3))
    assert extra["phrasings"] == 3
    first, second = (
        context.score(context.records, replace_task(context.record_encoder, item))
        for item in task.wording_variants(2, context.seed)
    )
    assert all(entry.wordings is None or len(entry.wordings) == 1 for entry in first)
    # The judge's score is the mean over its two wordings, which are the first two of the generator.
    for prediction, low, high in zip(
        context.score(context.records, record_encoder), first, second, strict=True
    ):
        assert prediction.expected == pytest.approx((low.expected + high.expected) / 2, abs=1e-5)


def replace_task(record_encoder, task):
    return RecordEncoder(
        task,
        record_encoder.processor,
        record_encoder.family,
        max_seconds=record_encoder.max_seconds,
        cache_clips=8,
    )


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["task=role_all"], "in one question, in one wording"),
        (["task=role", "task.phrasings=null"], "every question in one wording"),
        (["task=role", "task.phrasings.language=zh"], "the rubric realism is written in en"),
    ],
)
def test_tasks_without_other_wordings_are_refused(build_context, composed, overrides, reason):
    task = build_task(composed(*overrides))
    with pytest.raises(NotPossibleError, match=reason):
        phrasing(replace(build_context(), task=task))


@pytest.mark.parametrize("name", ["role", "role_caption", "archetype", "role_variation"])
def test_every_task_of_single_questions_has_wordings(composed, name):
    task = build_task(composed(f"task={name}"))
    tasks = task.wording_variants(30, 0)
    for dimension in task.dimensions:
        texts = [other.criterion(dimension) for other in tasks]
        assert len(set(texts)) == 30
        assert texts[0] == task.criterion(dimension)
        assert all(
            dimension.title in text and dimension.scores[dimension.scale[-1]] in text
            for text in texts
        )


def test_a_custom_rubric_has_the_general_wordings(composed):
    words = [
        "task.rubric.name=context",
        "task.rubric.dimensions=[{key: charm, annotation: charm, title: Charm,",
    ]
    words[1] += (
        " scale: [0, 1], description: Whether it charms., scores: {0: it does not, 1: it does}}]"
    )
    task = build_task(composed("task=role", *words))
    assert (
        len({other.criterion(task.dimensions[0]) for other in task.wording_variants(30, 0)}) == 30
    )


def test_scores_without_distributions_are_averaged_as_numbers(make_prediction):
    """A regression head gives scores without distributions."""
    by_wording = [[make_prediction("a", 2.0, (3,))], [make_prediction("a", 3.5, (3,))]]
    by_wording = [[replace(entry, distribution=None) for entry in same] for same in by_wording]
    (one,) = averaged(by_wording)
    assert (one.expected, one.distribution, one.state) == (2.75, None, "scored")
