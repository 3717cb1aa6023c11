"""The task mixed: each record keeps the questions and targets of its own task, and tasks have given shares."""

from collections import Counter

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from repository import ROOT

from dramaeval.config import registration
from dramaeval.config.problems import ConfigError
from dramaeval.stages.builders import build_task
from dramaeval.stages.checks import check
from dramaeval.stages.read_splits import read_splits
from dramaeval.tasks import settings
from dramaeval.training.question_sampler import sample_questions
from dramaeval.training.step_batches import EpochOrder, apportion, filler

_mixture = []


@pytest.fixture
def mixture(composed, tmp_path):
    """The mixed task and its records, built once for all tests, which do not change it."""
    if not _mixture:
        config = composed("task=mixed", "stages=[train]")
        check(config)
        task = build_task(config)
        _mixture.append((task, read_splits(config, task, conversions=tmp_path)))
    return _mixture[0]


@pytest.mark.slow
def test_each_record_gets_the_questions_of_its_task(composed, mixture):
    task, splits = mixture
    rng = np.random.default_rng(0)
    tasks = {}
    for record in splits["train"][::37]:
        if record.part not in tasks:
            tasks[record.part] = build_task(composed(f"task={record.part}"))
        part = tasks[record.part]
        dimensions, part_dimensions = task.dimensions_for(record), part.dimensions_for(record)
        assert [dimension.key for dimension in dimensions] == [
            f"{record.part}/{dimension.key}" for dimension in part_dimensions
        ]
        questions = task.questions(record, dimensions)
        expected_questions = part.questions(record, part_dimensions)
        assert [q.messages for q in questions] == [q.messages for q in expected_questions]
        assert [q.answer_fields[0].dimension for q in questions] == list(dimensions)
        for dimension, part_dimension in zip(dimensions, part_dimensions, strict=True):
            assert task.ratings(record, dimension) == part.ratings(record, part_dimension)
            expected = part.target(record, part_dimension, rng)
            targets = task.targets(record, [dimension], rng)
            assert (dimension.key in targets) == (expected is not None)
            if expected is not None:
                np.testing.assert_array_equal(targets[dimension.key].distribution, expected)
    assert tasks.keys() == {"role", "archetype", "avqa"}
    assert sample_questions(task, splits["train"][0], (0, 0, 0))[1]


@pytest.mark.slow
def test_the_same_file_may_serve_two_tasks(composed, tmp_path):
    config = composed(
        "task=mixed", "+task.tasks.caption=${task.tasks.role}", "+task.weights.caption=1", "stages=[train]"
    )  # fmt: skip
    task = build_task(config)
    splits = read_splits(config, task, conversions=tmp_path)
    parts = Counter(record.part for record in splits["train"])
    assert parts["caption"] == parts["role"]


def test_weights_set_the_share_of_each_task_in_an_epoch(mixture):
    task, splits = mixture
    records = splits["train"]
    order = EpochOrder(len(records), 0, task.mixture(records))
    counts = Counter()
    for epoch in range(3):
        order.set_epoch(epoch)
        rows = list(order)
        assert len(rows) == len(records) == len(order)
        assert list(order) == rows
        rows = [order.row(number)["record"] for number in rows]
        counts.update(rows)
        by_part = Counter(records[at].part for at in rows)
        assert max(by_part.values()) - min(by_part.values()) <= 1
    # How often the records of one task are drawn differs by at most one.
    for part in task.parts:
        visits = [counts[at] for at, record in enumerate(records) if record.part == part]
        assert max(visits) - min(visits) <= 1


def test_apportion_rounds_up_the_largest_remainders():
    # 10 · 1/6, 2/6, 3/6 = 1.67, 3.33, 5: the largest remainder is rounded up
    assert apportion(10, [1, 2, 3]) == [2, 3, 5]
    assert apportion(7, [1, 1, 1]) == [3, 2, 2]
    # 4.98, 0.01, 0.01: the small shares take 1 each from the large one
    assert apportion(5, [1000, 1, 1]) == [3, 1, 1]
    assert apportion(5, [1, 1000]) == [1, 4]
    assert apportion(1, [1, 1, 2]) == [0, 0, 1]


@pytest.mark.parametrize("weights", [[1, 1000], [1e-6, 5, 1e6, 1], [3, 3, 3, 3]])
def test_the_shares_of_an_epoch_sum_to_its_records_and_none_is_empty(weights):
    for count in range(len(weights), 30):
        shares = apportion(count, weights)
        assert sum(shares) == count
        assert min(shares) >= 1
    rows = [[number] for number in range(len(weights))]
    order = EpochOrder(9, 0, list(zip(rows, weights, strict=True)))
    assert len(list(order)) == len(order)


@pytest.mark.parametrize("small_first", [True, False])
def test_the_visits_of_a_record_ask_each_dimension_equally_often(composed, make_clips, small_first):
    task = build_task(
        composed("task.dimensions=[pitch_dynamics,trait_embodiment,emotion_accuracy]")
    )
    records = task.read(make_clips("train", 20)).records
    groups = [(list(range(2)), 1.0), (list(range(2, 20)), 1.0)]
    order = EpochOrder(20, 7, groups if small_first else groups[::-1])
    visits, dimensions = {}, Counter()
    for epoch in range(18):  # 180 clips of each group: 90 and 10 visits
        order.set_epoch(epoch)
        rows = [order.row(number) for number in order]
        assert Counter(row["record"] < 2 for row in rows) == {True: 10, False: 10}
        for row in rows:
            visits.setdefault(row["record"], []).append(row["epoch"])
            [dimension], _ = sample_questions(
                task,
                records[row["record"]],
                (7, row["epoch"], row["record"]),
                questions_per_clip=1,
            )
            dimensions[row["record"], dimension.key] += 1
    for record in range(20):
        times = 90 if record < 2 else 10
        assert sorted(visits[record]) == list(range(times))
        asked = [dimensions[record, dimension.key] for dimension in task.dimensions]
        assert sorted(asked) == ([30, 30, 30] if record < 2 else [3, 3, 4])


@pytest.mark.parametrize("mixture", [None, [([0, 1], 1.0), ([2, 3, 4, 5, 6], 1.0)]])
def test_a_filler_repeats_the_row_of_its_record(mixture):
    order = EpochOrder(7, 0, mixture)
    order.set_epoch(4)
    numbers = list(order)
    for number in numbers:
        row, repeated = order.row(number), order.row(filler(number))
        assert repeated == {"record": filler(row["record"]), "epoch": row["epoch"]}
        assert mixture or row == {"record": number, "epoch": 4}


def test_without_weights_there_is_no_mixture(composed):
    task = build_task(composed("task=mixed", "task.weights=null"))
    assert task.mixture([]) is None


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [("max_seconds", "15", "30"), ("on_long", "trim", "error"), ("on_bad", "skip", "stop"), ("workers", "2", "8")],
)  # fmt: skip
def test_settings_of_the_data_that_a_mixture_has_in_common_are_refused_in_its_tasks(
    composed, key, value, same
):
    words = ["task=mixed", f"+task.tasks.role.data.{key}={value}"]
    assert settings.problems(composed(*words)) == [
        f"task.tasks.role.data.{key} has no effect in a mixture: give task.data.{key}."
    ]
    assert settings.problems(composed(*words, f"task.data.{key}={value}")) == []
    assert settings.problems(composed(*words[:1], f"+task.tasks.avqa.data.{key}={same}")) == []


def test_each_task_of_a_mixture_has_its_audio_root_unless_the_mixture_has_one(composed):
    words = ["task=mixed", "+task.tasks.role.data.audio_root=a", "+task.tasks.avqa.data.audio_root=b"]  # fmt: skip
    assert settings.problems(composed(*words)) == []
    assert settings.problems(composed(*words, "task.data.audio_root=b")) == [
        "task.tasks.role.data.audio_root has no effect beside task.data.audio_root: leave out one of them."
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.weights.role=0"], "task.weights.role=0 must be above 0"),
        (["task.weights.role=inf"], "task.weights.role=inf must be above 0 and finite"),
        (["task.weights.role=nan"], "task.weights.role=nan must be above 0 and finite"),
        (["~task.weights.avqa"], "task.weights.avqa is missing"),
        (["+task.weights.song=1"], "task.weights.song: there is no such task"),
        (
            ["+task.tasks.a-b=${task.tasks.role}", "+task.weights.a-b=1"],
            "task.tasks.a-b: a task.s name must be of letters",
        ),
        (["task.tasks.role.dimensions=[pitch]"], "no dimension 'pitch'"),
    ],
)
def test_wrong_mixtures_are_refused(composed, overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_task(composed("task=mixed", *overrides))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("+task.tasks.role.augment=strong", "augment"),
        ("task.tasks.role.objective=answer_ce", "objective"),
        ("+task.tasks.archetype.best_by=mse", "best_by"),
        ("task.tasks.avqa.best_by=mse", "best_by"),
        ("+task.tasks.avqa.objective=answer_ce", "objective"),
    ],
)
def test_settings_that_the_tasks_have_in_common_are_refused_for_one_task(
    composed, problems_of, override, key
):
    (problem,) = problems_of("task=mixed", "stages=[train]", override)
    assert problem.startswith(f"{override.lstrip('+')} is not used")
    assert problem.endswith(f"Set task.{key}.")
    assert not problems_of("task=mixed", "stages=[evaluate]", override)


def test_a_task_of_ones_own_keeps_the_settings_in_its_file(problems_of):
    """The settings are those of its file, in which they are for a run of this task alone."""
    own = ("+task.tasks.own=${task.tasks.role}", "+task.weights.own=1", "task.tasks.role.name=own")
    assert not problems_of("task=mixed", "stages=[train]", *own)
    objective = "task.tasks.role.objective=answer_ce"
    assert not problems_of("task=mixed", "stages=[train]", *own, objective)
    registration.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        words = ["task=mixed", "stages=[train]", *own, objective]
        config = compose("launch", overrides=words, return_hydra_config=True)
    assert settings.problems(config) == [
        "task.tasks.role.objective=answer_ce is not used: the tasks of a mixture are trained together. Set "
        "task.objective."
    ]


@pytest.mark.slow
def test_invalid_configurations_are_refused(composed):
    with pytest.raises(ConfigError, match=r"give task\.tasks\.role\.data\.train"):
        check(composed("task=mixed", "task.data.train=x.jsonl"))
    with pytest.raises(ConfigError, match=r"task\.tasks\.role\.lables is not an argument"):
        check(composed("task=mixed", "+task.tasks.role.lables=mean"))
    with pytest.raises(ConfigError, match=r"task\.tasks\.avqa\.labels=x is not known"):
        check(composed("task=mixed", "task.tasks.avqa.labels=x"))
