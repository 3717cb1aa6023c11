"""The task processed uses the prompts of a file unchanged; the output of `prepare` gives the same questions."""

import json

import numpy as np
import pytest
import scaled_clips
from clips import write_clips

from dramaeval.data.inline_audio import inline_audio
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.raters import RaterInfo
from dramaeval.data.records import checked_lines
from dramaeval.stages.builders import build_task
from dramaeval.stages.prepare import write_questions
from dramaeval.tasks.processed import ProcessedTask
from dramaeval.tasks.processed_records import ProcessedReader
from dramaeval.training.question_sampler import sample_questions, trainable_dimensions


def line(clip, solution, **more):
    content = [{"type": "audio", "audio_url": clip}, {"type": "text", "text": "How is it?"}]
    return {"prompt": [{"role": "user", "content": content}], "solution": solution, **more}


@pytest.fixture
def clip(make_clips):
    return json.loads(make_clips("clip", 1).read_text())["wav_path"]


@pytest.fixture
def read(tmp_path):
    def build(*lines):
        file = tmp_path / "lines.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in lines))
        task = ProcessedTask()
        return task, task.read(file).records

    return build


@pytest.mark.parametrize(
    ("solution", "keys", "scores"),
    [
        ("<answer>4</answer>", ["answer"], ["4"]),
        ("<answer> 4 </answer>", ["answer"], ["4"]),
        ("<think>A hum.</think> <answer>2</answer>", ["answer"], ["2"]),
        ("<answer>[Pitch]4[Pace]3</answer>", ["Pitch", "Pace"], ["4", "3"]),
        ("<answer>a dog and [a] cat 2</answer>", ["answer"], ["a dog and [a] cat 2"]),
    ],
)
def test_solutions_are_trained_unchanged(read, clip, solution, keys, scores):
    task, (record,) = read(line(clip, solution))
    dimensions, targets = sample_questions(task, record, (0, 0, 0))
    assert [one.key for one in dimensions] == keys
    (question,) = task.questions(record, dimensions, np.random.default_rng(0))
    written = tuple(int(np.argmax(targets[key].distribution)) for key in keys)
    assert question.solution(written) == solution
    assert [p.choices[at] for p, at in zip(question.answer_fields, written, strict=True)] == scores
    assert question.messages == record.fields["prompt"]


def test_scales_follow_from_the_written_scores(read, clip):
    task, records = read(line(clip, "<answer>1</answer>"), line(clip, "<answer>0</answer>"))
    assert task.dimensions[0].scale == (0, 1)
    assert task.ratings(records[0], task.dimensions[0]) == (1.0,)
    task, _ = read(line(clip, "<answer>1</answer>"), line(clip, "<answer>2</answer>"))
    assert task.dimensions[0].scale == (1, 2, 3, 4, 5)
    places = [{"dimension": "warmth", "scale": [0, 1, 2, 3], "ratings": [1, None, 3]}]
    task, (record,) = read(line(clip, "<answer>2</answer>", places=places))
    assert (task.dimensions[0].key, task.dimensions[0].scale) == ("warmth", (0, 1, 2, 3))
    assert task.ratings(record, task.dimensions[0]) == (1, None, 3)
    # The target is the solution, also where the ratings differ.
    assert task.target(record, task.dimensions[0], np.random.default_rng(0)).argmax() == 2


def test_a_solution_that_is_a_text_is_scored_only_where_options_are_given(read, clip):
    task, (record,) = read(line(clip, "<answer>a dog</answer>"))
    assert trainable_dimensions(task, record)
    assert task.questions(record, task.dimensions_for(record)) == []
    assert list(task.remarks([record]).values()) == [1]
    options = [{"options": ["a dog", "rain"]}]
    task, (record,) = read(line(clip, "<answer>rain</answer>", places=options))
    (question,) = task.questions(record, task.dimensions_for(record))
    assert question.answer_fields[0].choices == ("a dog", "rain")
    assert task.ratings(record, task.dimensions[0]) == (1.0,)
    assert task.rated_dimensions == ()


def test_the_field_audio_names_the_clip_where_the_prompt_does_not(read, clip):
    _, (record,) = read(line("", "<answer>4</answer>", audio=clip))
    assert record.clip.name == clip.rpartition("/")[2]


def test_the_field_audio_may_hold_samples(read):
    wave = (0.5 * np.sin(np.arange(8_000) / 6)).tolist()
    _, (record,) = read(line("", "<answer>4</answer>", audio=wave))
    assert record.seconds == 0.5
    np.testing.assert_array_equal(inline_audio(record), np.float32(wave))
    whole_numbers = [round(32_767 * value) for value in wave]
    with pytest.raises(BadRecordsError) as caught:
        read(line("", "<answer>4</answer>", audio=whole_numbers))
    (problem,) = caught.value.problems
    assert (problem.line, "were not scaled" in problem.problem) == (1, True)
    assert "32768" in problem.fix


def test_all_problems_are_reported_together(read, clip):
    with pytest.raises(BadRecordsError) as raised:
        read(
            line(clip, "4"), line("gone.wav", "<answer>2</answer>"), line(clip, 3),
            {"solution": "<answer>1</answer>"}, line(clip, "<answer>1</answer>", audio={"a": 1}),
            line(clip, "<answer>4</answer>", places=[{"scale": [0, 1]}]),
            line(clip, "<answer>4</answer>", places=[{}, {}]),
            line(clip, "<answer>4</answer>", places=[{"scale": [1, 4], "ratings": [7]}]),
        )  # fmt: skip
    assert [(one.line, one.key) for one in raised.value.problems] == [
        (1, "solution"), (3, "solution"), (4, "prompt"), (5, "audio"), (6, "places"), (7, "places"),
        (8, "places"), (2, "prompt"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "overrides",
    [
        ("task=role",),
        ("task=role_all", "task.rater=consistent", "task.order=shuffled"),
        ("task=role_variation",),
        ("task=role", "task.labels=sample"),
        scaled_clips.overrides("speech"),
        scaled_clips.overrides("role_all"),
    ],
)
def test_prepared_records_give_the_same_questions_and_answers(composed, tmp_path, overrides):
    task = build_task(composed(*overrides))
    scaled = "ten" in overrides[-1]
    write = scaled_clips.write_scaled_clips if scaled else write_clips
    records = task.read(write(tmp_path, "a", 3)).records
    records[1].ratings["ten" if scaled else "pitch_variation"] = (None,) * 6
    write_questions(task, {"train": records}, tmp_path, 5)
    lines = [json.loads(x) for x in (tmp_path / "train.jsonl").read_text().splitlines()]
    processed = ProcessedTask()
    prepared = processed.read(tmp_path / "train.jsonl").records
    expected = []
    for at, record in enumerate(records):
        dimensions, targets = sample_questions(task, record, (5, 0, at))
        rng = np.random.default_rng([5, 0, at, 2])
        for question in task.questions(record, dimensions, rng):
            written = [
                one.written if one.written is not None else int(one.distribution.argmax())
                for one in (targets[place.dimension.key] for place in question.answer_fields)
            ]
            expected.append((question, question.solution(tuple(written))))
    assert len(lines) == len(prepared) == len(expected)
    assert len({one["id"] for one in lines}) == len(lines)
    for one, record, (question, solution) in zip(lines, prepared, expected, strict=True):
        assert one["solution"] == solution
        (processed_question,) = processed.questions(
            record, processed.dimensions_for(record), np.random.default_rng(0)
        )
        assert [p.lead for p in processed_question.answer_fields] == [
            p.lead for p in question.answer_fields
        ]
        assert [p.scale for p in processed_question.answer_fields] == [
            p.scale for p in question.answer_fields
        ]
        assert [p.choices for p in processed_question.answer_fields] == [
            p.choices for p in question.answer_fields
        ]
        assert processed.targets(record, processed.dimensions_for(record), rng).keys() == {
            p.dimension.key for p in question.answer_fields
        }
        assert [p.dimension.key for p in processed_question.answer_fields] == [
            p.dimension.key for p in question.answer_fields
        ]
        assert record.clip.is_file()
        text = question.messages[1]["content"][1]
        assert processed_question.messages[1]["content"][1] == text
        for place in processed_question.answer_fields:
            source = next(r for r in records if r.id == one["record"])
            dimension = task.rubric[place.dimension.key]
            assert processed.ratings(record, place.dimension) == task.ratings(source, dimension)


def test_prepared_multiple_choice_questions_keep_their_options(composed, tmp_path):
    task = build_task(composed("task=avqa"))
    from dramaeval.config.schema import PACKAGE

    records = task.read(PACKAGE / "data" / "sample" / "avqa" / "val.jsonl").records[:4]
    write_questions(task, {"val": records}, tmp_path, 0)
    processed = ProcessedTask()
    for record, source in zip(processed.read(tmp_path / "val.jsonl").records, records, strict=True):
        (processed_question,) = processed.questions(record, processed.dimensions_for(record))
        assert processed_question.answer_fields[0].choices == task.options(source)
        assert processed.ratings(record, processed.dimensions[0]) == task.ratings(
            source, task.dimensions[0]
        )


@pytest.mark.parametrize(
    ("solution", "digits"),
    [
        ("<answer>４</answer>", "4"),
        ("<think>A.</think>\n<answer> ٣ </answer>", "3"),
        ("<answer>[Pitch]4[Pace]３[Tone]５</answer>", "3, 5"),
    ],
)
def test_scores_in_other_digits_are_refused(read, clip, solution, digits):
    with pytest.raises(BadRecordsError) as raised:
        read(line(clip, "<answer>4</answer>"), line(clip, solution))
    (problem,) = raised.value.problems
    assert (problem.line, problem.key) == (2, "solution")
    assert problem.fix == f"write the score as {digits}"


@pytest.mark.parametrize("solution", ["<answer>a ４</answer>", "<answer>[Pitch ４]4</answer>"])
def test_other_digits_within_a_text_are_accepted(read, clip, solution):
    task, (record,) = read(line(clip, solution))
    assert task.questions(record, task.dimensions, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"places": [{"scale": 5}]}, "scale is not a list"),
        ({"places": [{"scale": ["4", "5"]}]}, "scale is not a list"),
        ({"places": [{"scale": [1, 2], "answers": ["4"]}]}, "answers is not a list with a text of"),
        (
            {"places": [{"scale": [1, 2], "answers": ["4", "4"]}]},
            "answers is not a list with a text of",
        ),
        ({"places": [{"scale": [1, 2], "answers": ["a", "b"]}]}, "4 is off the scale"),
        ({"places": [{"scale": [0.5, 1.5]}]}, "4 is off the scale"),
        ({"places": [{"dimension": 3}]}, "dimension is not a text"),
        ({"places": [{"options": "abc"}]}, "options is not a list"),
        ({"places": [{"options": [4]}]}, "options is not a list"),
        ({"system": 3}, "a number where a string is"),
        ({"id": "\ud83d"}, "surrogate"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, "chat messages"),
    ],
)
def test_values_of_other_types_are_refused_with_their_line(read, clip, more, problem):
    with pytest.raises(BadRecordsError) as raised:
        read(line(clip, "<answer>4</answer>", **more))
    (found,) = raised.value.problems
    assert found.line == 1
    assert problem in found.problem


def test_scores_of_several_characters_are_read_by_their_scale(read, clip):
    ten = {"dimension": "ten", "scale": list(range(11)), "ratings": [9, 10]}
    bins = {"dimension": "slider", "scale": [0, 50, 100], "answers": ["1", "2", "3"]}
    labels = {"dimension": "style", "scale": [1, 2], "answers": ["read [aloud]", "free"]}
    task, (single, several) = read(
        line(clip, "<answer>10</answer>", places=[ten]),
        line(clip, "<answer>[A]1[B] 3 [C]read [aloud]</answer>", places=[ten, bins, labels]),
    )
    assert [(d.key, d.scale, d.answers) for d in task.dimensions] == [
        ("ten", tuple(range(11)), tuple(map(str, range(11)))),
        ("slider", (0, 50, 100), ("1", "2", "3")),
        ("style", (1, 2), ("read [aloud]", "free")),
    ]
    assert single.ratings == {"ten": (9, 10)}
    assert several.ratings == {"ten": (9, 10), "slider": (100.0,), "style": (1.0,)}
    targets = task.targets(several, task.dimensions, np.random.default_rng(0))
    assert [t.distribution.argmax() for t in targets.values()] == [1, 2, 0]
    (question,) = task.questions(several, task.dimensions)
    assert question.solution((1, 2, 0)) == several.fields["solution"]


@pytest.mark.parametrize("first", [True, False])
def test_scales_of_a_dimension_that_contradict_each_other_are_refused(read, clip, first):
    def contradiction(*lines):
        with pytest.raises(BadRecordsError) as raised:
            read(*lines)
        return raised.value.problems[0].problem

    bins = {"dimension": "answer", "scale": [0, 50, 100], "answers": ["1", "2", "3"]}
    labels = {"dimension": "answer", "scale": [1, 2], "answers": ["bad", "good"]}
    ok = line(clip, "<answer>3</answer>", places=[bins])
    for wrong in (
        line(clip, "<answer>2</answer>", places=[{"dimension": "answer", "scale": [1, 2, 3]}]),
        line(clip, "<answer>bad</answer>", places=[{**labels, "scale": [0, 1]}]),
    ):
        assert "is another score" in contradiction(*((ok, wrong) if first else (wrong, ok)))
    # A digit without a scale stands for itself, which contradicts the labels too.
    labelled = line(clip, "<answer>bad</answer>", places=[labels])
    for other in (ok, labelled):
        lines = [other, line(clip, "<answer>2</answer>")]
        assert "'2' is another score" in contradiction(*(lines if first else lines[::-1]))


def test_the_raters_of_a_place_are_read(tmp_path):
    def line(ratings, raters):
        content = [{"type": "audio", "audio_url": "a.wav"}, {"type": "text", "text": "Rate it."}]
        place = {"dimension": "pitch", "scale": [1, 2, 3, 4, 5], "ratings": ratings}
        return {
            "prompt": [{"role": "user", "content": content}],
            "solution": "<answer>4</answer>",
            "places": [{**place, "raters": raters}],
        }

    mean = RaterInfo(mean_only=True, std=0.6, count=4)
    infos = [RaterInfo(ids=("ann", "bo")), RaterInfo(unknown=True), RaterInfo()]
    lines = [line([4, 5], info.to_json()) for info in infos] + [line([3.4], mean.to_json())]
    lines += [line([4, 5], ["ann"]), line([4, 5], "ann"), line(4, None), line([4, 5], {"mean": 1})]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    reader = ProcessedReader(file, False, 30.0, False, 16_000)
    records = reader.records(checked_lines(file), None, 1)
    assert [record.raters["pitch"] for record in records] == [*infos, mean]
    assert [(problem.line, problem.key) for problem in reader.problems] == [
        (number, "places") for number in (5, 6, 7, 8)
    ]


def test_samples_in_the_line_are_prepared_unchanged(read, tmp_path):
    wave = (0.5 * np.sin(np.arange(8_000) / 6)).tolist()
    task, records = read(line("", "<answer>4</answer>", audio=wave, id="a"))
    write_questions(task, {"train": records}, tmp_path / "prepared", 0)
    (record,) = ProcessedTask().read(tmp_path / "prepared" / "train.jsonl").records
    assert (record.clip, record.seconds) == (records[0].clip, 0.5)
    assert record.fields["audio"] == wave
    assert record.fields["prompt"] == records[0].fields["prompt"]
