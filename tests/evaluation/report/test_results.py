"""Results to compare: results of the published scripts and run folders, and their comparison."""

import json
from dataclasses import replace

import pytest
import yaml
from repository import ROOT
from scipy.stats import pearsonr

from dramaeval.data.fingerprint import RECORDS, RecordPrint, write_prints
from dramaeval.evaluation.report.published_results import NO_ANSWER, read_published
from dramaeval.evaluation.report.read_results import Results, ResultsError, read_run
from dramaeval.evaluation.report.sections import published
from dramaeval.evaluation.report.side_by_side import common_predictions, side_by_side
from dramaeval.tasks.rubric import read_rubric

RATED = {"pitch_variation": [5, 3, None, "N/A", 4], "dynamic_range": [1, 2, 1, 2, 1]}


@pytest.fixture(scope="module")
def rubric():
    return read_rubric(
        yaml.safe_load((ROOT / "configs/task/rubric/realism.yaml").read_text("utf-8"))
    )


def item(name, **values):
    return {
        "id": name, "specific_dimension": "pitch_dynamics", "model_score": 4, "probability_score": 3.75,
        "evaluation_text": "<answer>4</answer>", "raw_model_output": "<answer>4</answer>",
        "ground_truth_ratings": RATED, **values,
    }  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write(*items, name="pitch_dynamics"):
        folder = tmp_path / "old"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(list(items)), encoding="utf-8")
        return folder

    return write


def test_the_published_layout_is_read(written, rubric):
    written(item("b", specific_dimension="EmotionalDynamicRange", probability_score=1.5), name="x")
    result = read_published(written(item("a"), item("b", probability_score="2.25")), "old", rubric)
    by = {(prediction.id, prediction.dimension): prediction for prediction in result.predictions}
    assert by["a", "pitch_dynamics"].expected == 3.75
    assert by["a", "pitch_dynamics"].ratings == (5, 3, None, None, 4)
    assert by["a", "pitch_dynamics"].scale == (1, 2, 3, 4, 5)
    assert by["b", "pitch_dynamics"].expected == 2.25
    assert by["b", "emotional_dynamic_range"].ratings == (1, 2, 1, 2, 1)
    assert result.notes == ["old: the published scripts' results; scores from 3 probability_score."]


@pytest.mark.parametrize(
    ("values", "expected", "state"),
    [
        ({"probability_score": None}, 4.0, "scored"),
        ({"probability_score": float("nan")}, 4.0, "scored"),
        ({"probability_score": None, "model_score": None}, None, "neither"),
        # A score of 3 is an answer if the output has it; otherwise it is the default of the scripts.
        ({"probability_score": None, "model_score": 3}, 3.0, "scored"),
        (
            {"probability_score": None, "model_score": 3.0, "raw_model_output": "I cannot say",
             "evaluation_text": "I cannot say"}, None, NO_ANSWER,
        ),
        (
            {"probability_score": 2.9, "model_score": 3.0, "raw_model_output": "I cannot say",
             "evaluation_text": ""}, 2.9, "scored",
        ),
    ],
)  # fmt: skip
def test_the_score_and_state_of_a_published_item(written, rubric, values, expected, state):
    (one,) = read_published(written(item("a", **values)), "old", rubric).predictions
    assert one.expected == expected
    assert one.state.startswith(state)


def test_the_scores_of_a_comprehensive_evaluation_are_read(written, rubric):
    scores = {"pitch_dynamics": 4, "emotional_dynamic_range": None}
    lines = [
        {"id": name, "evaluation_type": "comprehensive", "dimension_scores": scores, "ground_truth_ratings": RATED}
        for name in "ab"
    ]  # fmt: skip
    result = read_published(written(*lines, name="all"), "old", rubric)
    read = [(p.id, p.dimension, p.expected, p.state, p.ratings) for p in result.predictions]
    assert read[:2] == [
        ("a", "pitch_dynamics", 4.0, "scored", (5, 3, None, None, 4)),
        ("a", "emotional_dynamic_range", None, NO_ANSWER, (1, 2, 1, 2, 1)),
    ]
    assert len(read) == 4
    assert result.notes[0].endswith("scores from 2 dimension_scores, 2 unscored.")
    wrong = {**lines[0], "dimension_scores": {"loudness": 3}}
    with pytest.raises(ResultsError, match="item 1: specific_dimension 'loudness' is not one of"):
        read_published(written(wrong), "old", rubric)


def test_every_bad_item_is_named(written, rubric):
    folder = written(
        item("a"), item("a"), item("b", specific_dimension="loudness"), item(7),
        item("c", ground_truth_ratings={}), item("d", ground_truth_ratings={"pitch_variation": [9]}),
    )  # fmt: skip
    (folder / "torn.json").write_text('[{"id": ', encoding="utf-8")
    with pytest.raises(ResultsError) as raised:
        read_published(folder, "old", rubric)
    message = str(raised.value)
    for part in ("item 2: a × pitch_dynamics occurs twice", "item 3: specific_dimension 'loudness'",
                 "item 4: 'id' must be text", "item 5: 'ground_truth_ratings' has no list",
                 "item 6: ratings hold 9", "torn.json: "):  # fmt: skip
        assert part in message


def test_other_json_files_in_the_folder_are_ignored(written, rubric):
    folder = written(item("a"))
    (folder / "analysis.json").write_text('{"mean": 3}', encoding="utf-8")
    assert len(read_published(folder, "old", rubric).predictions) == 1
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(ResultsError, match=r"neither predictions\.jsonl nor a JSON array"):
        read_published(empty, "old", rubric)


@pytest.fixture
def runs(judged, tmp_path):
    """The results of three run folders: a good judge, a bad one, and the good one again."""

    def write(name, judge, phase="final", seed=0):
        folder = tmp_path / name
        folder.mkdir()
        file = "predictions.jsonl" if phase == "final" else f"predictions.{phase}.jsonl"
        lines = [
            {"split": "test", "phase": phase, **prediction.to_json()}
            for prediction in judge.predictions
        ]
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
        dimensions = [{"key": "pitch_dynamics", "title": "Pitch"}]
        settings = {"seed": seed, "task": {"rubric": {"dimensions": dimensions}}}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        return read_run(folder, name, "test", None)

    good = judged(0.2)
    return [
        write("good", good),
        write("bad", judged(3.0, seed=1), "zero_shot", 5),
        write("same", good),
    ]


def test_the_comparison_has_differences_intervals_and_differing_settings(runs):
    result = side_by_side(runs, seed=0, draws=200, level=0.95)
    assert result.dimensions == {"pitch_dynamics": "Pitch", "trait_embodiment": "trait_embodiment"}
    assert result.against_first["same"]["macro"]["pearson"]["difference"] == 0
    worse = result.against_first["bad"]["macro"]["pearson"]
    good, bad = (result.summaries[name]["macro"]["pearson"] for name in ("good", "bad"))
    assert worse["difference"] == pytest.approx(bad - good)
    assert worse["interval"][1] < 0
    assert [(pair["run"], pair["against"]) for pair in result.pairs] == [
        ("bad", "good"), ("same", "good"), ("same", "bad"),
    ]  # fmt: skip
    assert result.pairs[2]["difference"] == pytest.approx(good - bad)
    assert all(pair["p_adjusted"] >= pair["p"] for pair in result.pairs)
    assert result.differing == {"seed": [0, 5, 0]}


def test_only_common_records_are_compared_and_the_rest_counted(runs):
    runs[1].predictions = runs[1].predictions[:-4]
    result = side_by_side(runs, seed=0, draws=20, level=0.95)
    assert {summary["macro"]["records"] for summary in result.summaries.values()} == {24}
    assert result.notes == [
        "good: 4 answers left out, because not every run has them.",
        "same: 4 answers left out, because not every run has them.",
    ]
    runs[1].predictions = []
    with pytest.raises(ResultsError, match="no record × dimension in common"):
        side_by_side(runs, seed=0, draws=20, level=0.95)


def test_published_results_take_their_groups_from_the_run_with_the_same_records(
    runs, written, rubric
):
    """The published files have no characters; without groups the bootstrap would draw single clips."""
    own = [
        prediction for prediction in runs[0].predictions if prediction.dimension == "pitch_dynamics"
    ]
    old = read_published(
        written(
            *(
                item(
                    p.id, probability_score=3.3, ground_truth_ratings={"pitch_variation": p.ratings}
                )
                for p in own
            )
        ),
        "old",
        rubric,
    )
    result = side_by_side([runs[0], old], seed=0, draws=20, level=0.95)
    groups = {prediction.group for prediction in own}
    assert result.summaries["old"]["bootstrap"]["clusters"] == len(groups) == 7
    assert result.against_first["old"]["records"] == len(own)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_records_of_two_tasks_with_the_same_id_keep_their_groups_and_systems(
    make_prediction, order
):
    """A mixture whose tasks number their records from 0; another run has no groups and takes those of the first."""
    parts = {"role": 6, "archetype": 3}  # numbers of groups
    predictions = [
        make_prediction(
            str(row), 1 + row % 5, [1 + (row * 7) % 5], dimension=f"{part}/pitch",
            group=f"{part} {row % count}", system=f"{part}-{row % 2}",
        )
        for part, count in [list(parts.items())[at] for at in order]
        for row in range(12)
    ]  # fmt: skip
    other = [replace(p, group=None, system=None) for p in predictions]
    runs = [
        Results(name=name, predictions=of, titles={})
        for name, of in (("own", predictions), ("other", other))
    ]
    aligned = common_predictions(runs)
    for of in aligned.values():
        assert [(p.group, p.system) for p in of] == [(p.group, p.system) for p in predictions]
    result = side_by_side(runs, seed=0, draws=20, level=0.95)
    assert result.summaries["own"]["bootstrap"]["clusters"] == 9
    assert result.summaries["own"]["dimensions"]["archetype/pitch"]["clusters"] == 3


def test_other_ratings_for_the_same_record_are_refused(runs, written, rubric):
    own = runs[0].predictions[0]
    old = read_published(written(item(own.id)), "old", rubric)
    with pytest.raises(ResultsError, match="have different data"):
        side_by_side([runs[0], old], seed=0, draws=20, level=0.95)


def test_other_clips_for_the_same_record_are_refused(runs, tmp_path):
    folders = []
    for number, run in enumerate(runs[:2]):
        ids = sorted({prediction.id for prediction in run.predictions})
        folder = tmp_path / f"clips {number}"
        folder.mkdir()
        lines = [prediction.to_json() | {"split": "test"} for prediction in run.predictions]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "predictions.jsonl").write_text(text)
        fingerprints = [RecordPrint(name, "a", "same") for name in ids]
        fingerprints[3] = fingerprints[3]._replace(clip="same" if number == 0 else "other")
        fingerprints[4] = fingerprints[4]._replace(
            clip=""
        )  # a judge without audio has no hash of the clip
        (folder / RECORDS).write_text(
            write_prints({"val": fingerprints[3:4], "test": fingerprints})
        )
        folders.append(folder)
    first, second = (read_run(folder, folder.name, "test", None) for folder in folders)
    assert side_by_side([first, replace(second, clips={})], seed=0, draws=20, level=0.95)
    count = len(first.clips)
    with pytest.raises(ResultsError, match=rf"other clips: 1 of {count} records .*\({ids[3]}\)"):
        side_by_side([first, second], seed=0, draws=20, level=0.95)


def test_a_missing_split_or_phase_is_reported_with_the_setting_to_change(tmp_path, make_prediction):
    line = {"split": "val", **make_prediction("a", 3.0, (4,)).to_json()}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(
        ResultsError, match=r"not evaluated on test; it has val\. Set report\.split="
    ):
        read_run(tmp_path, "a", "test", None)
    with pytest.raises(
        ResultsError, match=r"no phase zero_shot; it has final\. Set report\.phase="
    ):
        read_run(tmp_path, "a", "val", "zero_shot")


def test_scores_without_ratings_are_not_results(tmp_path, make_prediction):
    line = make_prediction("a", 3.0, ()).to_json()
    (tmp_path / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ResultsError, match="scores of clips without ratings"):
        read_run(tmp_path, "a", "test", None)


def test_answers_to_multiple_choice_are_not_results(tmp_path):
    (tmp_path / "predictions.jsonl").write_text('{"split": "test", "options": ["a"]}\n')
    (tmp_path / "config.yaml").write_text("task: {name: avqa}\n")
    with pytest.raises(ResultsError, match="multiple-choice questions, which have no scores"):
        read_run(tmp_path, "avqa", "test", None)


@pytest.mark.parametrize("line", ["[]", "3", '{"split": "test"}', "{"])
def test_a_line_that_is_not_a_prediction_is_named(tmp_path, line):
    (tmp_path / "predictions.jsonl").write_text(line + "\n")
    with pytest.raises(ResultsError, match=r"predictions\.jsonl, line 1: "):
        read_run(tmp_path, "a", "test", None)


def results(name, make_prediction, scales, expected, **values):
    """Results of three records per dimension; the ratings are the lowest point, the middle and the highest point."""
    predictions = [
        make_prediction(
            f"r{number}",
            value * (scale[-1] - scale[0]) + scale[0],
            [scale[0] + number / 2 * (scale[-1] - scale[0])],
            dimension=key,
            scale=scale,
        )
        for key, scale in scales.items()
        for number, value in enumerate(expected)
    ]
    return Results(
        name=name, predictions=predictions, titles={key: key for key in scales}, **values
    )


FIVE, SLIDER, BINS = (1.0, 2.0, 3.0, 4.0, 5.0), tuple(map(float, range(101))), (0.0, 50.0, 100.0)


def test_a_dimension_with_another_unit_or_without_answers_is_left_out(make_prediction):
    first = results("a", make_prediction, {"pace": FIVE, "warmth": FIVE, "tone": FIVE}, [0, 0.5, 1])
    second = results("b", make_prediction, {"pace": SLIDER, "warmth": FIVE}, [0, 0.5, 0.75])
    compared = side_by_side([first, second], seed=0, draws=0, level=0.95)
    assert list(compared.dimensions) == ["warmth"]
    assert compared.notes[:2] == [
        "pace is left out: its scale is 1-5 in a, 0-100 in b.",
        "tone is left out: b has no answers on it.",
    ]
    # One of three scores is 1 point of 4 too low: MSE 1/3.
    assert compared.against_first["b"]["macro"]["mse"]["difference"] == pytest.approx(1 / 3)
    with pytest.raises(ResultsError, match=r"no scale in common: pace is left out: its scale is"):
        side_by_side(
            [
                results("a", make_prediction, {"pace": FIVE}, [0, 0.5, 1]),
                results("b", make_prediction, {"pace": SLIDER}, [0, 0.5, 1]),
            ],
            seed=0, draws=0, level=0.95,
        )  # fmt: skip


def test_runs_with_and_without_bins_are_compared(make_prediction):
    fine = results("fine", make_prediction, {"pace": SLIDER}, [0, 0.5, 1])
    coarse = results("coarse", make_prediction, {"pace": BINS}, [0.1, 0.5, 1])
    compared = side_by_side([fine, coarse], seed=0, draws=0, level=0.95)
    # One of three scores is 10 points too high.
    assert compared.against_first["coarse"]["macro"]["mse"]["difference"] == pytest.approx(100 / 3)


def test_figures_by_both_published_conventions_are_compared(make_prediction, written, rubric):
    ratings = [[5, None, "N/A"], [3, 3], [1, None]]
    old = read_published(
        written(
            *(
                item(
                    f"r{number}",
                    probability_score=score,
                    ground_truth_ratings={"pitch_variation": given},
                )
                for number, (given, score) in enumerate(zip(ratings, (4, 2, 1), strict=True))
            )
        ),
        "old",
        rubric,
    )
    counted = {"fine_tuning": {"pearson": 0.5}, "zero_shot": {"pearson": 0.25}}
    own = Results(
        name="own",
        predictions=[replace(p, expected=3.0) for p in old.predictions],
        titles=old.titles,
        config={"seed": 0},
        published=counted,
    )
    other = replace(own, name="other", published=None)
    compared = side_by_side([own, old, other], seed=0, draws=0, level=0.95)
    assert compared.published["own"] == counted
    # Fine-tuning scripts leave out null and count "N/A" as 1: targets 3, 3, 1 for the scores 4, 2, 1.
    of_old = compared.published["old"]
    assert of_old["fine_tuning"]["pearson"] == pytest.approx(pearsonr([4, 2, 1], [3, 3, 1])[0])
    # Zero-shot scripts count null as 1 too: targets 7/3, 3, 1.
    assert of_old["zero_shot"]["pearson"] == pytest.approx(pearsonr([4, 2, 1], [7 / 3, 3, 1])[0])
    assert (
        "other is not counted as published: evaluate it with evaluation.convention=published."
        in compared.notes
    )
    rows = [[cell.plain for cell in row[:3]] for row in published({"old": of_old}, "Run").rows]
    assert [row[:2] for row in rows] == [
        ["fine-tuning scripts", "old"],
        ["zero-shot scripts", "old"],
    ]
    assert side_by_side([other, old], seed=0, draws=0, level=0.95).published == {}
