"""Small runs with a 0-10 scale, half points, labels and bins: metrics, report, `Judge.score`, prepared questions."""

import json
import logging

import numpy as np
import pytest
from scaled_clips import HALF_POINTS, LABELS, overrides, write_scaled_clips
from sklearn.metrics import cohen_kappa_score

from dramaeval import Judge
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.run_folder import RunFolder

POINTS = {
    "ten": list(range(11)),
    "half": list(HALF_POINTS),
    "label": [1, 2, 3, 4, 5],
    "slider": [0, 25, 50, 75, 100],
}
BINS = "Loudness: the scale 0 to 100 is divided into 5 bins at a distance of 25."
NAMES = "Clarity: the scores 1 to 5 stand for bad | poor | fair | good | excellent."


@pytest.fixture
def finished(composed, tmp_path, small_judge):
    def run(name, *settings):
        config = composed(
            "device=cpu", "logger=none", "evaluation.draws=20", "trainer.args.max_steps=2",
            "trainer.args.per_device_train_batch_size=2", small_judge, *settings,
        )  # fmt: skip
        check(config)
        (tmp_path / name).mkdir()
        folder = RunFolder(tmp_path / name)
        folder.open(config)
        run_stages(RunContext(config, folder))
        return folder

    return run


def predictions_of(folder, phase):
    with folder.predictions(phase).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_scales_are_kept_in_predictions_metrics_report_scores_and_prepared_lines(
    finished, tmp_path, caplog
):
    train = write_scaled_clips(tmp_path, "train", 6, seconds=(0.4, 0.7))
    test = write_scaled_clips(tmp_path, "test", 4, seconds=(0.4, 0.7), seed=1)
    caplog.set_level(logging.INFO)
    folder = finished(
        "run", *overrides(), f"task.data.train={train}", f"task.data.test={test}",
        "stages=[prepare,train,evaluate]", "trainer.args.learning_rate=1e-2",
    )  # fmt: skip
    assert BINS in caplog.text
    assert NAMES in caplog.text
    metrics = json.loads(folder.metrics.read_text("utf-8"))
    report = folder.report.read_text("utf-8")
    assert BINS in report
    assert NAMES in report
    assert "Loudness (bins of 25)" in report
    final = predictions_of(folder, "final")
    records = {record["id"]: record["annotations"] for record in map(json.loads, test.open("rb"))}
    for key, points in POINTS.items():
        lines = [line for line in final if line["dimension"] == key]
        assert len(lines) == 4
        for line in lines:
            assert line["scale"] == points
            assert len(line["distribution"]) == len(points)
            expected = np.dot(points, line["distribution"])
            assert line["expected"] == pytest.approx(expected, abs=1e-4 * points[-1])
            ratings = records[line["id"]][key]
            if key == "label":
                ratings = [LABELS.index(label) + 1 for label in ratings]
            assert line["ratings"] == ratings
        # The nearest point of the scale; of two equally near points, the higher one.
        nearest = [
            [max(points, key=lambda point, v=value: (-abs(point - v), point)) for value in values]
            for values in (
                [line["expected"] for line in lines],
                [np.mean(line["ratings"]) for line in lines],
            )
        ]
        figures = metrics["test"]["final"]["dimensions"][key]
        assert figures["accuracy"] == pytest.approx(np.mean(np.equal(*nearest)))
        steps = [[points.index(point) for point in column] for column in nearest]
        kappa = cohen_kappa_score(*steps, labels=range(len(points)), weights="quadratic")
        assert figures["qwk"] == pytest.approx(kappa)
        errors = [line["expected"] - np.mean(line["ratings"]) for line in lines]
        assert figures["mae"] == pytest.approx(np.mean(np.abs(errors)))

    first = json.loads(test.read_text("utf-8").splitlines()[0])
    judge = Judge.load(folder.path, device="cpu")
    scores = judge.score(
        str(tmp_path / first["wav_path"]), task="speech", transcript=first["transcript"]
    )
    for line in (line for line in final if line["id"] == first["id"]):
        score = scores[line["dimension"]]
        assert list(score.scale) == line["scale"]
        assert score.labels == (LABELS if line["dimension"] == "label" else ())
        assert score.expected == pytest.approx(line["expected"], abs=1e-4 * line["scale"][-1])
        np.testing.assert_allclose(score.distribution, line["distribution"], atol=1e-4)

    prepared = finished(
        "prepared", "task=processed", f"task.data.test={folder.prepared / 'test.jsonl'}",
        "stages=[evaluate]",
    )  # fmt: skip
    before = {
        f"{line['id']}/{line['dimension']}": line for line in predictions_of(folder, "zero_shot")
    }
    again = predictions_of(prepared, "zero_shot")
    assert len(again) == len(before) == 16
    for line in again:
        source = before[line["id"]]
        assert (line["scale"], line["ratings"]) == (source["scale"], source["ratings"])
        np.testing.assert_allclose(line["distribution"], source["distribution"], atol=1e-4)
    trained = finished(
        "trained", "task=processed", f"task.data.train={folder.prepared / 'train.jsonl'}",
        "stages=[train]", "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
        "trainer.args.load_best_model_at_end=false",
    )  # fmt: skip
    assert trained.model.is_dir()
