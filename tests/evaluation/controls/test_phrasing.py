"""Phrasing: the average over wordings and how far they lie apart."""

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
    # a: variance 1 over 2, 3, 4; b is not scored by all.
    assert spread(by_wording) == {
        "phrasings": 3,
        "dimensions": {"trait_embodiment": {"mean_deviation": 1.0, "largest_range": 2.0, "n": 1}},
    }


def test_distributions_are_averaged(make_prediction):
    low, high = (1.0, 0, 0, 0, 0), (0, 0, 0, 0.5, 0.5)
    by_wording = [
        [make_prediction("a", 1.0, (3,), distribution=low)],
        [make_prediction("a", 4.5, (3,), distribution=high)],
    ]
    (one,) = averaged(by_wording)
    assert one.distribution == (0.5, 0, 0, 0.25, 0.25)
    assert one.expected == pytest.approx(2.75)
    by_wording[1] = [make_prediction("a", None, (3,), state="unreadable clip: torn")]
    (one,) = averaged(by_wording)
    assert (one.expected, one.state) == (None, "unreadable clip: torn")


TWO = "task.dimensions=[pitch_dynamics,trait_embodiment]"


@pytest.mark.slow
def test_role_is_scored_under_several_wordings(build_context):
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
    gaps = [abs(a.expected - b.expected) for a, b in zip(result, judge, strict=True)]
    assert (
        0
        < max(gaps)
        <= max(dimension["largest_range"] for dimension in extra["dimensions"].values())
    )
    assert np.isfinite(gaps).all()


@pytest.mark.slow
def test_a_task_with_several_wordings_has_the_set_number_of_wordings(build_context, composed):
    """`evaluation.phrasings` decides, not `task.wordings_in_scoring`, and each wording is scored separately."""
    context = build_context()
    task = build_task(composed("task=role_variation", TWO, "task.wordings_in_scoring=2"))
    record_encoder = replace_task(context.record_encoder, task)
    _, extra = phrasing(replace(context, task=task, record_encoder=record_encoder, phrasings=3))
    assert extra["phrasings"] == 3
    first, second = (
        context.score(context.records, replace_task(context.record_encoder, item))
        for item in task.wording_variants(2, context.seed)
    )
    assert all(entry.wordings is None or len(entry.wordings) == 1 for entry in first)
    # The judge's score is the mean over its two wordings, which are the first that the generator gives.
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
    ("overrides", "why"),
    [
        (["task=role_all"], "in one question, in one wording"),
        (["task=role", "task.phrasings=null"], "every question in one wording"),
        (["task=role", "task.phrasings.language=zh"], "the rubric realism is written in en"),
    ],
)
def test_where_there_are_no_other_wordings(build_context, composed, overrides, why):
    task = build_task(composed(*overrides))
    with pytest.raises(NotPossibleError, match=why):
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


def test_scores_without_distributions_are_averaged_themselves(make_prediction):
    """A regression head gives none."""
    by_wording = [[make_prediction("a", 2.0, (3,))], [make_prediction("a", 3.5, (3,))]]
    by_wording = [[replace(entry, distribution=None) for entry in same] for same in by_wording]
    (one,) = averaged(by_wording)
    assert (one.expected, one.distribution, one.state) == (2.75, None, "scored")
