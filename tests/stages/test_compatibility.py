"""The figure that chooses the best checkpoint has to be one that validation of the task measures."""

from types import SimpleNamespace

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.stages.builders import build_family, build_task
from dramaeval.stages.checks import check
from dramaeval.stages.compatibility import check_best_figure
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.tasks.pair import PairTask
from dramaeval.training.settings import VALIDATED
from dramaeval.training.validation_metrics import validation_metrics

OPTIONS = {"options": ("yes", "no"), "distribution": (0.7, 0.3), "state": SCORED, "answer": 0}


def predictions_of(task, prefix=""):
    """Predictions about every dimension of a task, with a record for each score."""
    predictions = []
    rated = {dimension.key for dimension in task.rated_dimensions}
    for dimension in task.dimensions:
        key = prefix + dimension.key
        if isinstance(task, PairTask):
            outcomes = {"p_a": 0.5, "p_tie": 0.2, "p_b": 0.3, "votes": (1.0,)}
            predictions.append(
                PairPrediction(id="p", dimension=key, clip_a="a", clip_b="b", **outcomes)
            )
        elif dimension.key not in rated:
            predictions.append(OptionPrediction(id="o", dimension=key, **OPTIONS))
        else:
            scale = dimension.scale
            for step, score in enumerate([*scale, scale[0]]):
                shares = [0.0] * len(scale)
                shares[step % len(scale)] = 1.0
                predictions.append(
                    Prediction(
                        id=f"{step}", dimension=key, scale=scale, ratings=(score,), state=SCORED,
                        expected=score, distribution=tuple(shares),
                    )
                )  # fmt: skip
    return predictions


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        *((name, ()) for name in ("role", "archetype", "avqa", "pair", "pair_direct")),
        *(("mixed", parts) for parts in (("role",), ("avqa",), ("archetype", "avqa"))),
    ],
)
def test_only_figures_of_the_validation_choose_the_best_checkpoint(composed, name, parts):
    """The expected figures are those of `validation_metrics` for predictions of the tasks in val."""
    config = composed(f"task={name}")
    task, family = build_task(config), build_family(config)
    val = [SimpleNamespace(part=part) for part in parts or (None,)]
    own = [(f"{part}/", task.parts[part]) for part in parts] if parts else [("", task)]
    predictions = [p for prefix, part in own for p in predictions_of(part, prefix)]
    measured = validation_metrics(predictions)
    keys = [key for key in measured if key.startswith("pearson/") or key.endswith("/accuracy")]
    unknown = ["pearson/no_such_dimension", "score_77/accuracy"]
    for figure in {
        *VALIDATED,
        *keys,
        *unknown,
        "pearson/role/pitch_dynamics",
        "pearson/pitch_dynamics",
    }:
        args = SimpleNamespace(
            metric_for_best_model=f"eval_{figure}",
            load_best_model_at_end=True,
            lr_scheduler_type="cosine",
        )
        if figure in measured:
            check_best_figure(args, task, family, val)
            continue
        with pytest.raises(ConfigError, match=f"={figure} .*has no such figure.*choose one of"):
            check_best_figure(args, task, family, val)
        args.load_best_model_at_end = False
        check_best_figure(args, task, family, val)
        args.lr_scheduler_type = "reduce_lr_on_plateau"
        with pytest.raises(ConfigError):
            check_best_figure(args, task, family, val)


@pytest.mark.parametrize(
    ("figure", "head"),
    [
        ("pair_accuracy", "vocabulary"),
        ("pearson/pitch", "vocabulary"),
        ("cross_entropy", "regression"),
    ],
)
def test_a_run_whose_validation_lacks_the_figure_is_refused(
    composed, make_clips, small_judge, tmp_path, figure, head
):
    """A regression head gives no distribution, and so no cross-entropy."""
    data = [
        f"task.data.{split}={make_clips(split, 2, seconds=(0.4, 0.5))}"
        for split in ("train", "val")
    ]
    smaller = figure == "cross_entropy"
    config = composed(
        "device=cpu", small_judge, *data, f"task.best_by={figure}", f"model.head={head}",
        f"trainer.args.greater_is_better={str(not smaller).lower()}", "trainer.objective=expected_mse",
    )  # fmt: skip
    check(config)
    with pytest.raises(ConfigError, match=f"{figure} .task.best_by.*choose one of pearson"):
        RunContext(config, RunFolder(tmp_path / "run"))
