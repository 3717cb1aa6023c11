"""The table of a sweep over labels and objectives: paired differences to the baseline, and refused inputs."""

import json

import numpy as np
import pytest

from benchmarks.labels_and_objectives import (
    BASE,
    Finished,
    commands,
    document,
    finished,
    rows_of,
    table,
)
from benchmarks.layouts import by_layout, page
from dramaeval.evaluation.predictions import Prediction


def run(cell, seed, noise, layout="context_first"):
    """A run whose scores are the ratings plus noise, for 12 characters of 2 clips in 2 dimensions."""
    rng = np.random.default_rng([seed, int(noise * 100)])
    predictions = [
        Prediction(
            id=f"{clip}", dimension=key, scale=(1.0, 2.0, 3.0, 4.0, 5.0), distribution=None,
            expected=float(np.clip(1 + clip % 5 + noise * rng.normal(), 1, 5)),
            ratings=(float(1 + clip % 5),), state="scored", group=f"c{clip // 2}",
        )
        for clip in range(24)
        for key in ("a", "b")
    ]  # fmt: skip
    metrics = {"test": {"final": {"macro": {"ece": 0.1 * noise}}}}
    return Finished(
        cell=cell, layout=layout, seed=seed, steps=7, predictions=predictions, metrics=metrics
    )


BETTER = ("distribution", "soft_ce", "vocabulary")
RUNS = [run(cell, seed, noise) for cell, noise in ((BASE, 2.0), (BETTER, 0.3)) for seed in (0, 1)]


def test_rows_have_means_over_seeds_and_gains_over_the_baseline():
    best, base = rows_of(RUNS)
    assert (best.cell, base.cell) == (BETTER, BASE)
    assert best.pearson > base.pearson
    assert best.gain == pytest.approx(best.pearson - base.pearson)
    low, high = best.gain_interval
    assert 0 < low < best.gain < high
    assert base.gain_interval is None
    assert best.calibration == pytest.approx(0.03)
    # The expected value is the mean over seeds and dimensions of the correlations.
    ids = {p.id: p.ratings[0] for p in RUNS[2].predictions}
    each = []
    for one in RUNS[2:]:
        for key in ("a", "b"):
            pairs = [(p.expected, ids[p.id]) for p in one.predictions if p.dimension == key]
            each.append(np.corrcoef(np.array(pairs).T)[0, 1])
    assert best.pearson == pytest.approx(np.mean(each))
    text = document(rows_of(RUNS), RUNS, ["python launch.py -m"])
    assert "**sample**" in text
    assert "4 runs on the bundled sample, 7 steps each" in text
    assert table([best, base]) in text


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="differ in seeds"):
        rows_of(RUNS[:3])
    with pytest.raises(ValueError, match="baseline"):
        rows_of(RUNS[2:])
    with pytest.raises(ValueError, match="run twice"):
        rows_of([*RUNS, RUNS[0]])


def test_runs_are_found_and_unfinished_ones_are_reported(tmp_path, composed, capsys):
    from omegaconf import OmegaConf

    for name in ("0", "1"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        config = composed("task.labels=sample", "trainer.objective=answer_ce", "seed=3")
        (tmp_path / name / "config.yaml").write_text(OmegaConf.to_yaml(config))
        (tmp_path / name / ".hydra" / "config.yaml").write_text("{}")
    with (tmp_path / "0" / "predictions.jsonl").open("w") as out:
        for one in RUNS[0].predictions:
            out.write(json.dumps({"split": "test", "phase": "final", **one.to_json()}) + "\n")
    (tmp_path / "0" / "metrics.json").write_text(json.dumps(RUNS[0].metrics))
    (found,) = finished([tmp_path])
    assert (found.cell, found.seed, found.layout) == (BASE, 3, "context_first")
    assert found.predictions == RUNS[0].predictions
    assert "1 has no metrics.json" in capsys.readouterr().err


def test_layouts_are_compared_with_paired_seeds():
    runs = [
        run(BETTER, seed, noise, layout)
        for layout, noise in (
            ("context_first", 0.3),
            ("criteria_first", 2.0),
            ("rubric_first", 2.0),
        )
        for seed in (0, 1)
    ]
    found = page(by_layout(runs))
    better, worse = rows_of([*RUNS])
    gain = better.pearson - worse.pearson
    low, high = better.gain_interval
    assert f"context_first over criteria_first: {gain:+.3f} [{low:.3f}, {high:.3f}]." in found
    assert f"context_first over rubric_first: {gain:+.3f} [{low:.3f}, {high:.3f}]." in found
    assert f"| {better.pearson:.3f} [" in found
    with pytest.raises(ValueError, match="seeds differ"):
        by_layout(runs[:-1])
    with pytest.raises(ValueError, match="more than seed and layout"):
        by_layout([*runs[:-1], run(BASE, 1, 2.0, "rubric_first")])


@pytest.mark.slow
def test_the_sweeps_compose(composed):
    """Each command is composed with the first and with the last value of each swept setting."""
    from dramaeval.stages.checks import check

    for words in commands("x", 3, "0,1"):
        assert words[:2] == ["launch.py", "-m"]
        overrides = [word for word in words[2:] if not word.startswith("hydra.")]
        for turn in (0, -1):
            check(
                composed(
                    *(
                        f"{w.partition('=')[0]}={w.partition('=')[2].split(',')[turn]}"
                        for w in overrides
                    )
                )
            )
