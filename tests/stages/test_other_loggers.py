"""Loggers that transformers integrates: used if their package is installed, refused before weights load if not."""

import pytest

from dramaeval.config import extras
from dramaeval.config.extras import INTEGRATIONS, report_to
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.run_folder import RunFolder


@pytest.mark.parametrize(
    ("logger", "command"),
    [("mlflow", "mlflow"), ("trackio", "trackio"), ("swanlab", "swanlab"), ("comet", "comet-ml")],
)
def test_a_missing_package_is_named_with_its_install_command(
    composed, monkeypatch, logger, command
):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    lines = [line for line in extras.problems(composed(f"logger={logger}")) if "logger" in line]
    (line,) = lines
    assert line.startswith(f"logger={logger} needs the package")
    assert line.endswith(f"pip install {command}")
    # Without training, no logger is used.
    assert not extras.problems(composed(f"logger={logger}", "stages=[evaluate]"))


def test_logger_names_are_those_of_transformers(composed):
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    both = report_to(composed("logger=[mlflow,comet]"))
    assert both == ["mlflow", "comet_ml"]
    assert {name for name, _ in INTEGRATIONS.values()} <= set(INTEGRATION_TO_CALLBACK)
    assert report_to(composed("logger=[tensorboard,wandb]")) == []


@pytest.mark.slow
def test_mlflow_receives_the_losses_of_a_training(
    composed, make_clips, tmp_path, monkeypatch, small_judge
):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    store = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "judges")
    config = composed(
        "device=cpu", "logger=mlflow", "stages=[train]", "task.dimensions=[pitch_dynamics]", small_judge,
        f"task.data.train={make_clips('train', 4, seconds=(0.4,))}", "trainer.args.max_steps=2",
        "trainer.args.logging_steps=1", "trainer.args.per_device_train_batch_size=2",
        "trainer.args.save_strategy=no",
    )  # fmt: skip
    check(config)
    context = RunContext(config, RunFolder(tmp_path / "my run"))
    context.folder.open(config)
    with context.loggers:
        run_stages(context)
    mlflow.flush_async_logging()
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("judges")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("my run", "FINISHED")
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [each.step for each in losses] == [1, 2]
